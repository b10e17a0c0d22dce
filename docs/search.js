// Browsers give a page that was opened from a folder no search index: say what does.
if (location.protocol === "file:") {
  const field = document.querySelector(".md-search__input");
  if (field) {
    field.placeholder = "To search: python -m http.server --directory site";
    field.disabled = true;
  }
}
