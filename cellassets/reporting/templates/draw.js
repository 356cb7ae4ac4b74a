"use strict";
// Replaces each static picture by the interactive chart of the same specification. A picture stays where that fails.
const config = JSON.parse(document.getElementById("chart-config").textContent);
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.nextElementSibling.textContent);
  const drawn = document.createElement("div");
  const options = { mode: "vega-lite", renderer: place.dataset.renderer, config, actions: false, ast: true };
  vegaEmbed(drawn, spec, options).then(
    () => { place.replaceChildren(drawn); place.dataset.drawn = "yes"; },
    (error) => { place.dataset.drawn = "no"; console.error(error); },
  );
}
