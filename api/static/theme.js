// Runs before the first paint, so that a chosen theme never flashes: a classic script, not a module.
(() => {
  const root = document.documentElement;
  const chosen = localStorage.getItem("theme");
  if (chosen) root.dataset.theme = chosen;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("#theme");
    const label = () => {
      const theme = root.dataset.theme ?? "auto";
      button.dataset.shows = theme;
      button.setAttribute("aria-label", `Theme: ${theme}. Switch to ${next(theme)}`);
      button.title = `Theme: ${theme}`;
    };
    const next = (theme) => ({ auto: "light", light: "dark", dark: "auto" })[theme];
    button?.addEventListener("click", () => {
      const theme = next(root.dataset.theme ?? "auto");
      if (theme === "auto") {
        delete root.dataset.theme;
        localStorage.removeItem("theme");
      } else {
        root.dataset.theme = theme;
        localStorage.setItem("theme", theme);
      }
      label();
      document.dispatchEvent(new Event("themechange"));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      document.dispatchEvent(new Event("themechange")),
    );
    if (button) label();
    // Paper is white: figures that were drawn for a dark screen are drawn for it, and back.
    let onScreen;
    const show = (theme) => {
      if (theme) root.dataset.theme = theme;
      else delete root.dataset.theme;
      document.dispatchEvent(new Event("themechange"));
    };
    window.addEventListener("beforeprint", () => {
      onScreen = root.dataset.theme;
      show("light");
    });
    window.addEventListener("afterprint", () => show(onScreen));
  });
})();
