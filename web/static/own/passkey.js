// Buttons that ask the browser's authenticator. Without WebAuthn they stay hidden, and codes serve.

const failed = document.getElementById("passkey-failed");

async function ask(button) {
  const headers = { "Content-Type": "application/json", "X-Csrf": button.dataset.csrf };
  const send = (address, body) => fetch(address, { method: "POST", headers, body });
  const asked = await send(button.dataset.options, "{}");
  if (!asked.ok) throw new Error(String(asked.status));
  const options = await asked.json();
  const create = button.dataset.passkey === "create";
  const credential = create
    ? await navigator.credentials.create({
        publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options),
      })
    : await navigator.credentials.get({
        publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options),
      });
  const answer = await send(button.dataset.answer, JSON.stringify(credential.toJSON()));
  const found = await answer.json();
  if (!found.ok) throw new Error(String(answer.status));
  location.assign(found.next);
}

if (window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
  for (const hidden of document.querySelectorAll("[data-needs-passkey]")) hidden.hidden = false;
  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      failed.hidden = true;
      try {
        await ask(button);
      } catch {
        failed.hidden = false;
        button.disabled = false;
        button.focus();
      }
    });
  }
}
