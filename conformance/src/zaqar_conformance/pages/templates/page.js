(() => {
  const words = document.getElementById("words");
  if (!words) return;
  const requirements = [...document.querySelectorAll("[data-outcome]")];
  const parts = [...document.querySelectorAll(".part")];
  const none = document.querySelector(".none");
  words.parentElement.hidden = false;
  words.addEventListener("input", () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    for (const each of requirements) {
      const text = each.textContent.toLowerCase();
      each.classList.toggle("without", !wanted.every((word) => text.includes(word)));
    }
    for (const part of parts) part.classList.toggle("without", !part.querySelector("[data-outcome]:not(.without)"));
    none.hidden = !requirements.every((each) => each.classList.contains("without"));
  });
})();
