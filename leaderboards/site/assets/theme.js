// Before anything is painted: the theme that was chosen the last time, where the browser keeps that.
"use strict";
(() => {
  const root = document.documentElement;
  let chosen = null;
  try {
    chosen = localStorage.getItem("robustboard-theme");
  } catch {
    // A browser that keeps nothing for pages from files follows the system.
  }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
})();
