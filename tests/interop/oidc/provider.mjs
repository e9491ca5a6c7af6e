// An OpenID provider on loopback for one application: accounts ana and ben, and keys that change while it runs.
//   PORT   where it listens
//   APP    the origin of the application
//   TTL    how long an access token lasts, in seconds
// POST /keys/publish makes a new key known, /keys/sign signs with it, /keys/remove lets the ones before be forgotten.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const { PORT, APP, TTL } = process.env;
const ISSUER = `http://127.0.0.1:${PORT}`;
const AUDIENCE = "https://rooms.example";
const SESSION_S = 3600;

/** What it remembers: one memory for all the providers that follow one another. */
const memory = new Map();
const sessions = new Map(); // by their uids

class Adapter {
  constructor(kind) { this.kind = kind; }
  async upsert(id, payload, ttl) {
    memory.set(`${this.kind} ${id}`, { payload, until: Date.now() + (ttl ?? SESSION_S) * 1000 });
    if (this.kind === "Session") sessions.set(payload.uid, id);
  }
  async find(id) {
    const found = memory.get(`${this.kind} ${id}`);
    return found && found.until > Date.now() ? found.payload : undefined;
  }
  async findByUid(uid) { return this.find(sessions.get(uid)); }
  async findByUserCode() { return undefined; }
  async consume(id) { memory.get(`${this.kind} ${id}`).payload.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { memory.delete(`${this.kind} ${id}`); }
  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of memory) if (payload.grantId === grantId && !key.startsWith("Session ")) memory.delete(key);
  }
}

let made = 0;
function newKey() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: `key-${++made}`, alg: "ES256", use: "sig" };
}
let keys = [newKey()]; // the first signs
const cookieKeys = [randomBytes(32).toString("hex")];

function makeProvider() {
  return new Provider(ISSUER, {
    adapter: Adapter,
    jwks: { keys },
    cookies: { keys: cookieKeys },
    clients: [{
      client_id: "spa", token_endpoint_auth_method: "none", response_types: ["code"], grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [`${APP}/`], id_token_signed_response_alg: "ES256", backchannel_logout_uri: `${APP}/session-ended`,
    }],
    responseTypes: ["code"],
    pkce: { required: () => true },
    scopes: ["openid", "rooms"],
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    clientBasedCORS: (_, origin) => origin === APP,
    issueRefreshToken: async () => true, // it ends with the session
    interactions: { url: async (_, { uid }) => `/interaction/${uid}` },
    fetch: (url, { dispatcher, ...options }) => fetch(url, options), // its own refuses loopback
    ttl: { AccessToken: Number(TTL), AuthorizationCode: 60, Grant: SESSION_S, IdToken: SESSION_S, Interaction: 600, RefreshToken: SESSION_S, Session: SESSION_S },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (context, form) => { context.body = page("Sign out", `${form}<button form="op.logoutForm" name="logout" value="yes">Yes, sign out</button>`); },
        postLogoutSuccessSource: async (context) => { context.body = page("Signed out", ""); },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => AUDIENCE,
        useGrantedResource: async () => true,
        getResourceServerInfo: async () => ({
          scope: "rooms", audience: AUDIENCE, accessTokenFormat: "jwt", accessTokenTTL: Number(TTL), jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
  });
}
let provider = makeProvider();

const page = (title, body) => `<!doctype html><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}`;

async function interact(request, response) {
  const { prompt, params, session, grantId, uid } = await provider.interactionDetails(request, response);
  if (request.method === "GET") {
    const fields = prompt.name === "login"
      ? '<input name="name" aria-label="Name"><input name="password" type="password" aria-label="Password"><button>Sign in</button>'
      : "<button>Allow</button>";
    response.setHeader("Content-Type", "text/html");
    return response.end(page("Sign in", `<form method="post" action="/interaction/${uid}">${fields}</form>`));
  }
  let body = "";
  for await (const piece of request) body += piece;
  if (prompt.name === "login") {
    const fields = new URLSearchParams(body);
    const name = fields.get("name");
    if (!["ana", "ben"].includes(name) || fields.get("password") !== "secret") return response.writeHead(403).end("another name, or another password");
    return provider.interactionFinished(request, response, { login: { accountId: name } }, { mergeWithLastSubmission: false });
  }
  const grant = grantId ? await provider.Grant.find(grantId) : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(" "));
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) grant.addResourceScope(resource, scopes.join(" "));
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

const CHANGES = {
  "/keys/publish": () => [...keys, newKey()],
  "/keys/sign": () => [keys.at(-1), ...keys.slice(0, -1)],
  "/keys/remove": () => [keys[0]],
};

createServer((request, response) => {
  const { pathname } = new URL(request.url, ISSUER);
  if (CHANGES[pathname] && request.method === "POST") {
    keys = CHANGES[pathname]();
    provider = makeProvider();
    return response.end(keys[0].kid);
  }
  if (pathname.startsWith("/interaction/")) return interact(request, response).catch((error) => response.writeHead(500).end(String(error)));
  return provider.callback()(request, response);
}).listen(Number(PORT), "127.0.0.1");
