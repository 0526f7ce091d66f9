// What makes the pages live and quick. Without it they are complete, and every form works.
const live = document.querySelector("[data-live]");
if (live && window.htmx) {
  const shortest = Number(live.dataset.live) * 1000, patience = 10_000;
  const word = live.querySelector("[data-word]"), often = live.querySelector(".long"), lost = document.querySelector("[data-lost]");
  let wait = shortest, held = false, timer, asked = 0, answered = Date.now();
  // Jobs that are chosen, and the job that the keyboard is at, would leave the list.
  const rests = () => held || document.querySelector('#live tr[id^="job-"] :is(:checked, :focus-visible)') !== null;
  const say = (fails) => {
    live.setAttribute("aria-pressed", String(!held));
    word.textContent = rests() ? "Held" : "Live";
    often.hidden = rests();
    often.textContent = `every ${Math.round(wait / 1000)} s`;
    lost.textContent = fails ? `No answer since ${new Date(answered).toLocaleTimeString()}` : "";
  };
  const tick = () => {
    const late = asked && performance.now() - asked > patience;
    if (!rests() && !document.hidden && !asked) {
      asked = performance.now();
      document.body.dispatchEvent(new CustomEvent("refresh"));
    }
    say(late || lost.textContent);
    timer = setTimeout(tick, wait);
  };
  document.body.addEventListener("htmx:after:request", (event) => {
    const { response, text } = event.detail.ctx;
    // A proxy's error and the page of a login are no answers: what is shown stays until there is one.
    const good = response.status === 204 || (response.status < 500 && text.trimStart().startsWith('<div id="live"'));
    if (good) answered = Date.now();
    // The page may have been held, or a job chosen, since the server was asked.
    if (!good || rests()) event.preventDefault();
    // A slow server is asked less often.
    if (asked) wait = (performance.now() - asked) * 10 > shortest ? shortest * 2 : shortest;
    say(!good);
  });
  document.body.addEventListener("htmx:error", () => say(true));
  document.body.addEventListener("htmx:finally:request", () => { asked = 0; count(); });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) { clearTimeout(timer); tick(); }
  });
  document.addEventListener("change", () => say(lost.textContent));
  live.hidden = false;
  live.addEventListener("click", () => { held = !held; say(lost.textContent); });
  timer = setTimeout(tick, wait);
}

const theme = document.querySelector("[data-theme-button]");
if (theme) {
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("oban-theme", root.dataset.theme); } catch { /* storage may be forbidden */ }
  });
}

// Only where the page may write to the clipboard: https, or this machine.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const word = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    word.textContent = "Copied";
  } catch { word.textContent = "Not allowed"; }
  setTimeout(() => { word.textContent = "Copy"; }, 1500);
});
// The menu of a phone is wider than the phone.
document.querySelector(".menu [aria-current]")?.scrollIntoView({inline: "center", block: "nearest"});

// What was done is said once, and not again when the page is loaded again.
if (document.querySelector(".did")) {
  const here = new URL(location);
  for (const name of ["did", "n"]) here.searchParams.delete(name);
  history.replaceState(null, "", here);
}

// A page that answers a form can't be gone back to: in the history its place is taken by the page that it leads to.
const back = document.querySelector("[data-back]");
const leave = (event, name) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // opened in another tab
  const target = event.currentTarget, page = back.href;
  target[name] = target[name]; // absolute: relative links lead elsewhere from that page
  history.replaceState(null, "", page);
};
back?.addEventListener("click", (event) => leave(event, "href"));
back?.closest("form")?.addEventListener("submit", (event) => leave(event, "action"));
addEventListener("pageshow", (event) => { if (back && event.persisted) location.reload(); });

function count() {
  for (const one of document.querySelectorAll("[data-copy]")) one.hidden = !navigator.clipboard;
  const boxes = [...document.querySelectorAll('input[name="id"][type="checkbox"]')];
  const chosen = boxes.filter((box) => box.checked).length;
  const word = document.querySelector("[data-chosen]");
  if (word) word.textContent = chosen ? `${chosen} chosen, or` : "Tick jobs, or";
  const every = document.querySelector("[data-every]");
  if (every) { every.hidden = !boxes.length; every.checked = chosen > 0 && chosen === boxes.length; }
  for (const box of boxes) box.closest("tr")?.classList.toggle("chosen", box.checked);
}
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-every]")) {
    for (const box of document.querySelectorAll('input[name="id"][type="checkbox"]')) box.checked = event.target.checked;
  }
  if (event.target.matches("[data-send]")) event.target.form.submit();
  count();
});
count();

const pages = { o: "", j: "jobs", q: "queues", w: "flows", f: "failures", c: "crons", n: "nodes", a: "audit", s: "system" };
let went = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); }
  } else if (event.key === "g") {
    went = true;
    setTimeout(() => { went = false; }, 1000);
  } else if (went && event.key in pages) {
    const links = [...document.querySelectorAll(".menu a")];
    links[Object.keys(pages).indexOf(event.key)]?.click();
  }
});
