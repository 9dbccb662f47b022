// Live sound: the browser sends samples of the microphone, the server answers with predictions.

import { byId, listLabels, show } from "./api.js";

let session = null; // {context, stream, socket}

async function start() {
  byId("record").textContent = "Stop";
  byId("now").textContent = "listening …";
  session = {};
  const mine = session;
  try {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers allow the microphone only on pages from the same machine or over https.");
    }
    mine.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    mine.context = new AudioContext();
    await mine.context.audioWorklet.addModule("/static/samples.js");
  } catch (error) {
    show(error.message, true);
    stop();
    return;
  }
  if (mine !== session) return end(mine); // stopped meanwhile
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  mine.socket = new WebSocket(`${scheme}://${location.host}/live?rate=${mine.context.sampleRate}`);
  mine.socket.onmessage = ({ data }) => answer(JSON.parse(data));
  mine.socket.onclose = () => mine === session && stop();
  const node = new AudioWorkletNode(mine.context, "samples");
  node.port.onmessage = ({ data }) => {
    if (mine.socket.readyState === WebSocket.OPEN && mine.socket.bufferedAmount < 1e6) mine.socket.send(data);
  };
  mine.context.createMediaStreamSource(mine.stream).connect(node);
}

function answer(found) {
  if (found.detail) {
    show(found.detail, true);
    return;
  }
  byId("now").textContent = `after ${found.seconds.toFixed(1)} s: ${found.genre}`;
  listLabels(byId("live_labels"), found.probabilities, 5);
}

function end({ context, stream, socket }) {
  socket?.close();
  stream?.getTracks().forEach((track) => track.stop());
  context?.close();
}

export function stop() {
  if (!session) return;
  end(session);
  session = null;
  byId("record").textContent = "Record";
}

byId("record").onclick = () => (session ? stop() : start());
