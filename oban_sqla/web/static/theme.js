// Before the page is drawn, so that it does not flash in the other theme.
try {
  const theme = localStorage.getItem("oban-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* storage may be forbidden */ }
