"""The demo: a program that the product sees as a customer's program.

A local provider speaks OpenAI's wire protocol and answers with a trace's token counts. The real
`openai` client makes the calls through our SDK. The demo then compares the stored rows with the
trace.
"""
