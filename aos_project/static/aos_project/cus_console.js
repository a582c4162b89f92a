// What pages of the console do beyond links and forms. Each part is switched on by an attribute.
"use strict";

// data-cus-key="/" : the key that moves the cursor into the box, unless something is being typed.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const box = document.querySelector(`[data-cus-key="${CSS.escape(event.key)}"]`);
  if (!box) return;
  event.preventDefault();
  box.focus();
});

// data-cus-copy="#id" : the button copies the text of that element, and says so.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-cus-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.cusCopy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers allow it on https and on this machine alone: mark the text, so that Ctrl+C copies it.
    getSelection().selectAllChildren(source);
    button.textContent = "Marked: press Ctrl+C";
  }
});

// data-cus-poll="address" : every two seconds take what stands at the address, until it has no
// such attribute any more.
function poll(element) {
  setTimeout(async () => {
    if (!element.isConnected) return;
    try {
      const answer = await fetch(element.dataset.cusPoll, { headers: { "X-Cus-Poll": "1" } });
      if (answer.ok && !answer.redirected) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const next = page.getElementById(element.id);
        if (next && next.innerHTML !== element.innerHTML) element.innerHTML = next.innerHTML;
        if (next && !next.dataset.cusPoll) return;
      }
    } catch {
      // The server is away for a moment: ask again.
    }
    poll(element);
  }, 2000);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-cus-poll]").forEach(poll);
});
