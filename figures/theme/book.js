// The pages' behaviour: theme, contents on small screens, copying code, search. A plain script: works from disk.
(function () {
  "use strict";
  const body = document.body;
  const root = body.dataset.root || "";

  // Theme: the system's, until the reader chooses.
  const toggle = document.querySelector(".theme-toggle");
  const remember = (name) => { try { localStorage.setItem("book-theme", name); } catch (error) { /* storage is off */ } };
  const remembered = () => { try { return localStorage.getItem("book-theme"); } catch (error) { return null; } };
  function setTheme(dark) {
    body.classList.toggle("quarto-dark", dark);
    body.classList.toggle("quarto-light", !dark);
    toggle.textContent = dark ? "Light" : "Dark";
    toggle.setAttribute("aria-label", dark ? "Switch to the light theme" : "Switch to the dark theme");
  }
  setTheme(body.classList.contains("quarto-dark"));
  toggle.addEventListener("click", () => {
    const dark = !body.classList.contains("quarto-dark");
    setTheme(dark);
    remember(dark ? "dark" : "light");
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    if (!remembered()) setTheme(event.matches);
  });

  // Contents on small screens.
  const menu = document.querySelector(".menu-button");
  const sidebar = document.getElementById("sidebar");
  function openMenu(open) {
    sidebar.classList.toggle("open", open);
    menu.setAttribute("aria-expanded", String(open));
  }
  menu.addEventListener("click", () => openMenu(!sidebar.classList.contains("open")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !sidebar.classList.contains("open")) return;
    openMenu(false);
    menu.focus(); // what had the focus is gone
  });
  sidebar.querySelectorAll(".toc a").forEach((link) => link.addEventListener("click", () => openMenu(false)));

  // Copying code.
  document.querySelectorAll("div.sourceCode").forEach((block) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "code-copy-button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = block.querySelector("code").innerText;
      try {
        await navigator.clipboard.writeText(code);
        button.textContent = "Copied";
      } catch (error) {
        getSelection().selectAllChildren(block.querySelector("code"));
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.appendChild(button);
  });

  // The section on screen is marked in the contents.
  const links = new Map([...document.querySelectorAll(".toc a")].map((link) => [link.hash.slice(1), link]));
  const sections = [...document.querySelectorAll("main section[id]")].filter((section) => links.has(section.id));
  function markSection() {
    let current = null;
    sections.forEach((section) => { if (section.getBoundingClientRect().top < innerHeight / 3) current = section; });
    links.forEach((link) => link.classList.remove("here"));
    if (current) links.get(current.id).classList.add("here");
  }
  addEventListener("scroll", markSection, { passive: true });
  markSection();

  // Search: all words must occur in a section; a hit in a heading counts most. The index is heavier than most pages, so it
  // is loaded when somebody comes to search: as a script, for a page opened from disk may load nothing else.
  const input = document.getElementById("search");
  const results = document.getElementById("search-results");
  const status = document.getElementById("search-status"); // how many, for who does not see them
  const fold = (text) => text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
  let index = null;
  let asked = false;

  function loadIndex() {
    if (asked) return;
    asked = true;
    const script = document.createElement("script");
    script.src = root + "search-index.js";
    script.addEventListener("load", () => {
      index = window.bookSearchIndex.map(([page, section, href, text]) =>
        ({ page, section, href, text, title: fold(section || page), words: fold(text) }));
      search();
    });
    script.addEventListener("error", () => {
      asked = false; // the next word typed asks again
      say("The search index cannot be loaded.");
    });
    document.head.append(script);
  }

  function say(text) {
    const said = document.createElement("p");
    said.textContent = text;
    results.replaceChildren(said);
    status.textContent = text;
  }

  function excerpt(entry, word) {
    const at = fold(entry.text).indexOf(word);
    const start = at < 60 ? 0 : entry.text.indexOf(" ", at - 60) + 1;
    const small = document.createElement("small");
    const piece = entry.text.slice(start, start + 150);
    const found = fold(piece).indexOf(word);
    small.append((start ? "… " : "") + (found < 0 ? piece : piece.slice(0, found)));
    if (found >= 0) {
      const mark = document.createElement("mark");
      mark.textContent = piece.slice(found, found + word.length);
      small.append(mark, piece.slice(found + word.length));
    }
    small.append(" …");
    return small;
  }

  function search() {
    const words = fold(input.value).split(/\s+/).filter(Boolean);
    results.replaceChildren();
    status.textContent = "";
    results.hidden = !words.length;
    if (!words.length) return;
    if (!index) {
      say("Loading the index …");
      loadIndex();
      return;
    }
    const found = index
      .filter((entry) => words.every((word) => entry.title.includes(word) || entry.words.includes(word)))
      .map((entry) => [words.filter((word) => entry.title.includes(word)).length, entry])
      .sort((one, other) => other[0] - one[0]).slice(0, 20);
    if (!found.length) say("Nothing found.");
    else status.textContent = found.length === 1 ? "1 section found." : `${found.length} sections found.`;
    found.forEach(([, entry]) => {
      const link = document.createElement("a");
      link.href = root + entry.href;
      const name = document.createElement("strong");
      name.textContent = entry.section || entry.page;
      link.append(name);
      if (entry.section) {
        const where = document.createElement("small");
        where.textContent = entry.page;
        link.append(where);
      }
      link.append(excerpt(entry, words[0]));
      link.addEventListener("click", () => { results.hidden = true; openMenu(false); });
      results.append(link);
    });
  }
  input.addEventListener("focus", loadIndex);
  input.addEventListener("input", search);
  input.closest(".search").addEventListener("keydown", (event) => {
    const hits = [...results.querySelectorAll("a")];
    const at = hits.indexOf(document.activeElement);
    if (event.key === "Escape" && input.value) {
      event.preventDefault(); // else the contents would close with it
      input.value = "";
      search();
      input.focus();
    } else if (event.key === "Enter" && at < 0 && hits.length) {
      hits[0].click();
    } else if (event.key === "ArrowDown" && hits.length) {
      event.preventDefault();
      hits[Math.min(at + 1, hits.length - 1)].focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (at ? hits[at - 1] : input).focus();
    }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) results.hidden = true; });
  input.closest(".search").addEventListener("focusout", ({ relatedTarget }) => { // they would cover what has the focus now
    if (relatedTarget && !relatedTarget.closest(".search")) results.hidden = true;
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      openMenu(true);
      input.focus();
    }
  });

  // Everything folded is open on paper.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((block) => { block.open = true; }));
})();
