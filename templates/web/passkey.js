// Asks the browser for a passkey, and submits the response with the page's own form. Nothing is fetched.
"use strict";
(() => {
  const form = document.querySelector("form[data-challenge]");
  if (!form) return;
  const { challenge, rp, rpName, origin, userHandle, userName, displayName, known } = form.dataset;
  const answer = form.elements.namedItem("answer");
  const button = form.querySelector("button");
  const said = form.querySelector("[data-said]");

  const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const encode = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const say = (text) => { said.textContent = text; said.hidden = !text; };

  const ask = () => userHandle
    ? navigator.credentials.create({ publicKey: {
        challenge: decode(challenge),
        rp: { id: rp, name: rpName },
        user: { id: decode(userHandle), name: userName, displayName },
        // ES256, EdDSA, and RS256, which can be verified by the server.
        pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: "public-key", alg })),
        authenticatorSelection: { residentKey: "required", userVerification: "required" },
        excludeCredentials: known.split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: decode(id) })),
      } })
    : navigator.credentials.get({ publicKey: { challenge: decode(challenge), rpId: rp, userVerification: "required" } });

  const write = (credential) => {
    const { response } = credential;
    const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
    const present = parts.filter((part) => response[part]);
    return JSON.stringify({
      id: credential.id,
      rawId: encode(credential.rawId),
      type: credential.type,
      clientExtensionResults: {},
      response: Object.fromEntries(present.map((part) => [part, encode(response[part])])),
    });
  };

  const explain = (error) => {
    if (error.name === "InvalidStateError") return "This device already has a passkey for your account.";
    return userHandle ? "The passkey wasn’t created. Try again." : "The passkey wasn’t used. Try again, or use your password.";
  };

  form.addEventListener("submit", async (event) => {
    if (answer.value) return;
    event.preventDefault();
    button.disabled = true;
    say("");
    try {
      answer.value = write(await ask());
      form.requestSubmit();
    } catch (error) {
      say(explain(error));
      button.disabled = false;
    }
  });

  if (location.origin !== origin) {
    say(`Passkeys only work at ${origin}. Open the site there.`);
    button.disabled = true;
  } else if (!window.PublicKeyCredential) {
    say("This browser doesn’t support passkeys.");
    button.disabled = true;
  }
  form.hidden = false;
  document.querySelectorAll("[data-with-passkey]").forEach((element) => { element.hidden = false; });
})();
