// Keys for the review. Everything they do a link or a button does as well.
"use strict";

const TYPED = "input:not([type=checkbox]), textarea";

function act(target) {
  if (target.matches("input")) {
    target.focus();
  } else if (target.matches("summary")) {
    const help = target.closest("details");
    help.open = !help.open;
    if (help.open) help.scrollIntoView({ block: "center" });
  } else {
    const unticked = target.closest("form")?.querySelector("input[type=checkbox]:not(:checked)");
    (unticked ?? target)[unticked ? "focus" : "click"]();
  }
}

document.addEventListener("keydown", (event) => {
  const field = event.target.closest(TYPED);
  if (field) {
    if (event.key === "Escape") field.blur();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) field.form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (target) {
    event.preventDefault();
    act(target);
  }
});

// A second click must not send a form twice; the server would refuse it, but why ask.
document.addEventListener("submit", (event) => {
  for (const button of event.target.querySelectorAll("button")) button.disabled = true;
});

// A page that the browser kept from before the decision would show buttons of the past.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
