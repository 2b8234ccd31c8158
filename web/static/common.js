// What every page shares: requests that carry the CSRF token, and the way out.

const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";

/** POST JSON; resolves to what came back, rejects with the server's own words. */
export async function post(path, body = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf": csrf },
    body: JSON.stringify(body),
  });
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof found.detail === "string" ? found.detail : `refused (${answer.status})`);
  return found;
}

export async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`not to be had (${answer.status})`);
  return answer.json();
}

/** An element with properties and children; text goes in as text, never as HTML. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

document.getElementById("logout")?.addEventListener("click", async () => {
  await post("/logout");
  location.assign("/login");
});
for (const cell of document.querySelectorAll("[data-at]"))
  cell.textContent = new Date(1000 * cell.dataset.at).toISOString().replace("T", " ").slice(0, 19);
