// The pages work without this; it spares one page load for a star, and the mouse for a picture.
"use strict";

// A picture that is smaller than its place must not have the placeholder around it.
document.addEventListener("load", ({ target }) => {
  const blurred = target.previousElementSibling;
  if (target.matches?.("img") && blurred?.matches(".placeholder")) blurred.remove();
}, true);

// The page of one picture: arrows and Escape follow its links.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
  if (link) {
    event.preventDefault();
    link.click();
  }
});

// A star is sent without leaving the page. Whatever is not the usual answer, the server's page says.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  const star = form.querySelector("button[aria-pressed]");
  if (!star) return;
  event.preventDefault();
  if (form.dataset.busy) return;
  form.dataset.busy = "yes";
  const body = new URLSearchParams(new FormData(form));
  body.set(star.name, star.value);
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" })
    .catch(() => null);
  delete form.dataset.busy;
  if (answer && answer.type === "opaqueredirect") {
    const marked = form.elements.mark.value === "on";
    star.setAttribute("aria-pressed", marked);
    form.elements.mark.value = marked ? "off" : "on";
  } else {
    const id = Object.assign(document.createElement("input"),
      { type: "hidden", name: star.name, value: star.value });
    form.append(id);
    form.submit();
  }
});
