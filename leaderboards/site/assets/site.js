// What every page does: the theme's button, notes at hover and focus, copying of commands.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const say = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("robustboard-theme", root.dataset.theme);
    } catch {
      // It holds for this page, then.
    }
    say();
  });
  dark.addEventListener("change", say);
  say();

  const tip = document.getElementById("tip");
  let owner = null;
  const hide = () => {
    if (owner) owner.removeAttribute("aria-describedby");
    owner = null;
    tip.hidden = true;
  };
  const place = () => {
    const at = owner.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const below = at.bottom + 8 + size.height <= innerHeight || at.top < size.height + 8;
    const left = Math.min(Math.max(8, at.left), Math.max(8, root.clientWidth - size.width - 8));
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? at.bottom + 8 : at.top - size.height - 8}px`;
    tip.style.visibility = at.bottom < 0 || at.top > innerHeight ? "hidden" : "visible";
  };
  // A cell that carries ▲, or is missing, tells what its row's flag tells; one with ↓ what that means.
  const reasons = (target) => {
    const cell = target.closest("td");
    if (cell && cell.textContent.includes("↓")) return { owner: cell, text: document.body.dataset.below };
    const marked = cell && (cell.textContent.includes("▲") || cell.textContent.trim() === "missing");
    const flag = marked ? cell.parentElement.querySelector(".flag[data-tip]") : null;
    return flag && { owner: cell, text: flag.dataset.tip };
  };
  const told = (target) => {
    const own = target.closest("[data-tip]");
    return own ? { owner: own, text: own.dataset.tip } : reasons(target);
  };
  const show = (target) => {
    const found = target instanceof Element ? told(target) : null;
    const next = found ? found.owner : null;
    if (next === owner) return;
    hide();
    if (!next) return;
    owner = next;
    tip.textContent = found.text;
    tip.hidden = false;
    next.setAttribute("aria-describedby", "tip");
    place();
  };
  document.addEventListener("mouseover", (event) => show(event.target));
  document.addEventListener("focusin", (event) => show(event.target));
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", () => owner && place(), { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });

  document.addEventListener("click", async (event) => {
    const copy = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!copy) return;
    const code = copy.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
})();
