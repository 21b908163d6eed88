// Runs before anything is drawn, and needs nothing else of the page: it chooses the theme (so that
// no light flash precedes a dark page), and it says so when a part of the page did not arrive.

(() => {
  "use strict";

  const RELOAD_MS = 3_000;
  const CHOICES = ["system", "light", "dark"];
  const STORED = "systems-craft.theme";

  const root = document.documentElement;
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  let choice = initialChoice();
  let reloading = false;

  applyTheme();
  systemDark.addEventListener("change", applyTheme);
  document.addEventListener("DOMContentLoaded", wireToggle);
  // Loading errors do not bubble, so they are caught on the way down.
  window.addEventListener("error", reloadWhenPartMissing, true);

  // ?theme=dark in the address wins: it makes a link, or a screenshot, reproducible.
  function initialChoice() {
    const asked = new URLSearchParams(window.location.search).get("theme");
    if (CHOICES.includes(asked)) {
      return asked;
    }
    const remembered = recall();
    return CHOICES.includes(remembered) ? remembered : "system";
  }

  function applyTheme() {
    const dark = choice === "dark" || (choice === "system" && systemDark.matches);
    root.dataset.theme = dark ? "dark" : "light";
    document.dispatchEvent(new Event("themechange"));
  }

  function wireToggle() {
    const button = document.getElementById("theme");
    const show = () => {
      button.textContent = `Theme: ${choice}`;
    };
    button.addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      remember();
      applyTheme();
      show();
    });
    show();
  }

  // A server that restarts, or that is busy with somebody else, may refuse one of the files. The
  // page cannot run without its parts, so it comes again for all of them, but only once the server
  // answers: reloading from one that is away would leave the browser's own error page.
  function reloadWhenPartMissing(event) {
    const part = event.target;
    const isPart = part instanceof HTMLScriptElement || part instanceof HTMLLinkElement;
    if (!isPart || reloading) {
      return;
    }
    reloading = true;
    root.dataset.state = "away";
    window.setTimeout(reloadWhenServed, RELOAD_MS);
    const say = () => {
      document.getElementById("state-text").textContent = "away";
      document.getElementById("banner-text").textContent =
        "A part of this page did not arrive. It reloads as soon as the server answers.";
      document.getElementById("retry").hidden = true;
      document.getElementById("banner").hidden = false;
    };
    if (document.readyState === "loading") {
      document.addEventListener("DOMContentLoaded", say);
    } else {
      say();
    }
  }

  function reloadWhenServed() {
    const later = () => window.setTimeout(reloadWhenServed, RELOAD_MS);
    window
      .fetch("/assets/app.js", { cache: "no-store" })
      .then((response) => (response.ok ? window.location.reload() : later()))
      .catch(later);
  }

  // Storage may be forbidden (private windows, policies): then the choice lives as long as the page.
  function recall() {
    try {
      return window.localStorage.getItem(STORED);
    } catch {
      return null;
    }
  }

  function remember() {
    try {
      window.localStorage.setItem(STORED, choice);
    } catch {
      // Not remembered; nothing else depends on it.
    }
  }
})();
