// What lies below React Native's JavaScript on a phone, for Node: its native modules, over real sockets. It comes behind
// the preset's mocks, takes back those that would hide what is tried here, and leaves no global that an application on
// a phone does not have.
const http = require("http");
const { WebSocket: Socket } = require("ws");

jest.unmock("react-native/Libraries/AppState/AppState");

const emit = (kind, body) => require("react-native/Libraries/EventEmitter/RCTDeviceEventEmitter").default.emit(kind, body);
const silent = { addListener() {}, removeListeners() {} };

/** The phone: what its system and its networks do to an application. */
const phone = (global.phone = {
  sockets: new Map(), // by their ids
  opened: 0,
  listeners: new Set(), // of the network
  network: { type: "wifi", isConnected: true, details: { ipAddress: "10.0.0.2" } },
  isDown: false, // each attempt fails at once
  isMute: false, // a socket that is opened hears nothing, ever

  /** The system takes the sockets of an application in the background, and says so. */
  takeSockets() {
    for (const [id, socket] of phone.sockets) {
      phone.sockets.delete(id);
      phone.forget(socket);
      emit("websocketFailed", { id, message: "Software caused connection abort" });
    }
  },
  /** Nothing comes and nothing goes any more, and nobody says so. */
  freezeSockets() {
    for (const socket of phone.sockets.values()) {
      socket.isFrozen = true;
      phone.forget(socket);
    }
  },
  forget(socket) {
    socket.removeAllListeners();
    socket.on("error", () => {});
    socket._socket?.pause(); // the server hears of it later
    setTimeout(() => socket.terminate(), 5000).unref();
  },
  turnOff() {
    for (const socket of phone.sockets.values()) {
      socket.removeAllListeners();
      socket.on("error", () => {});
      socket.terminate();
    }
    phone.sockets.clear();
  },
  say(state) {
    emit("appStateDidChange", { app_state: state });
  },
  changeNetwork(network) {
    phone.network = { ...phone.network, ...network };
    for (const listener of phone.listeners) listener(phone.network);
  },
});

/** As `@react-native-community/netinfo` has it: a listener is told at once, too. */
global.NetInfo = {
  addEventListener(listener) {
    phone.listeners.add(listener);
    listener(phone.network);
    return () => phone.listeners.delete(listener);
  },
};

function openSocket(url, protocols, { headers }, id) {
  phone.opened++;
  if (phone.isDown) setTimeout(() => emit("websocketFailed", { id, message: "the network is down" }), 5);
  if (phone.isDown || phone.isMute) return;
  const socket = new Socket(url, protocols ?? [], { headers });
  phone.sockets.set(id, socket);
  const gone = (kind, body) => { phone.sockets.delete(id); emit(kind, { id, ...body }); };
  socket.on("open", () => emit("websocketOpen", { id, protocol: socket.protocol }));
  socket.on("message", (data) => emit("websocketMessage", { id, type: "text", data: data.toString() }));
  socket.on("error", ({ message }) => { phone.forget(socket); gone("websocketFailed", { message }); });
  socket.on("close", (code, reason) => gone("websocketClosed", { code, reason: reason.toString(), clean: true }));
}

const requests = new Map();
const blobs = new Map();
let lastRequest = 0;

function sendRequest({ method, url, data, headers, responseType }, told) {
  const id = ++lastRequest;
  told(id);
  const ended = (error) => { requests.delete(id); emit("didCompleteNetworkResponse", [id, error, false]); };
  if (phone.isDown) return void setTimeout(() => ended("the network is down"), 5);
  const request = http.request(url, { method, headers }, (response) => {
    const received = Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [name, String(value)]));
    emit("didReceiveNetworkResponse", [id, response.statusCode, received, url]);
    const pieces = [];
    response.on("data", (piece) => pieces.push(piece));
    response.on("end", () => {
      const body = Buffer.concat(pieces);
      blobs.set(String(id), body);
      const blob = { blobId: String(id), offset: 0, size: body.length };
      emit("didReceiveNetworkData", [id, responseType === "blob" ? blob : body.toString(responseType === "base64" ? "base64" : "utf8")]);
      ended(null);
    });
  });
  request.on("error", ({ message }) => requests.has(id) && ended(message));
  requests.set(id, request);
  request.end(data?.string);
}

Object.assign(require("react-native/Libraries/BatchedBridge/NativeModules").default, {
  WebSocketModule: {
    ...silent,
    connect: openSocket,
    send: (text, id) => { const socket = phone.sockets.get(id); if (socket && !socket.isFrozen) socket.send(text); },
    sendBinary() {},
    ping: (id) => phone.sockets.get(id)?.ping(),
    close: (code, reason, id) => phone.sockets.get(id)?.close(code, reason),
  },
  AppState: {
    ...silent,
    getConstants: () => ({ initialAppState: "active" }),
    getCurrentAppState: (told) => setTimeout(() => told({ app_state: "active" })),
  },
  Networking: {
    ...silent,
    sendRequest,
    abortRequest: (id) => { const request = requests.get(id); requests.delete(id); request?.destroy(); },
    clearCookies() {},
  },
  BlobModule: {
    ...silent,
    getConstants: () => ({ BLOB_URI_SCHEME: "content", BLOB_URI_HOST: null }),
    addNetworkingHandler() {}, addWebSocketHandler() {}, removeWebSocketHandler() {}, createFromParts() {}, sendOverSocket() {},
    release: (id) => blobs.delete(id),
  },
  FileReaderModule: { readAsText: async ({ blobId, offset, size }) => blobs.get(blobId).subarray(offset, offset + size).toString() },
});

// Node's globals go, and React Native's own come in their place.
const OF_NODE = [
  "AbortController", "AbortSignal", "Blob", "BroadcastChannel", "DOMException", "Event", "EventSource", "EventTarget", "File", "FormData",
  "Headers", "MessageChannel", "MessageEvent", "MessagePort", "ReadableStream", "Request", "Response", "TextDecoder", "TransformStream",
  "URL", "URLSearchParams", "WebSocket", "WritableStream", "XMLHttpRequest", "addEventListener", "atob", "btoa", "crypto", "document",
  "fetch", "localStorage", "navigator", "removeEventListener", "sessionStorage", "structuredClone",
];
for (const name of OF_NODE) {
  delete global[name];
  if (name in global) Object.defineProperty(global, name, { value: undefined, configurable: true, writable: true });
}
global.self = global; // its fetch looks there
require("react-native/Libraries/Core/setUpNavigator");
require("react-native/Libraries/Core/setUpXHR");
