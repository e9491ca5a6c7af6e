// What the browser test mounts: a component that follows a room, twice, in StrictMode.
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useRoom } from "../src/react.js";
import { connect } from "../src/trunkline.js";

const client = connect("/");
const opened = (globalThis.opened = []);
client.on("state", (change) => opened.push(change.state));

function Talk({ label }) {
  const { messages, state, publish } = useRoom(client, "strict", { last: 10 });
  return (
    <section id={label}>
      <output>{state}</output>
      <ol>{messages.map((message) => <li key={message.offset}>{String(message.data)}</li>)}</ol>
      <button onClick={() => publish(label)}>say</button>
    </section>
  );
}

function App() {
  const [shown, setShown] = useState(true);
  return (
    <>
      <button id="toggle" onClick={() => setShown(!shown)}>toggle</button>
      {shown && <Talk label="one" />}
      <Talk label="two" />
    </>
  );
}

const root = document.body.appendChild(document.createElement("div"));
createRoot(root).render(<StrictMode><App /></StrictMode>);
