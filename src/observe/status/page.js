(function () {
  "use strict";
  var note = document.getElementById("live");
  var page = document.querySelector("main");
  function show(text) {
    var next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    if (!next) { throw new Error("no status page"); }
    page.replaceWith(next);
    page = next;
    note.textContent = "live";
  }
  function refresh() {
    fetch(location.href, { cache: "no-store", credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) { throw new Error("status " + answer.status); }
        return answer.text();
      })
      .then(show)
      .catch(function (error) { note.textContent = "no answer from this process: " + error.message; })
      .then(function () { setTimeout(refresh, document.hidden ? 10000 : 500); });
  }
  setTimeout(refresh, 500);
})();
