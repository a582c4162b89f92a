"""The demo: a customer's program, as far as the product can tell.

A local provider speaks OpenAI's wire protocol and answers with a trace's token counts; the
real `openai` client makes the calls through our SDK; what the product stored is then held
against the trace.
"""
