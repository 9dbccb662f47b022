// Runs in the audio thread: sends blocks of float32 samples, mono, to the page.

const LENGTH = 4096;

class Samples extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(LENGTH);
    this.filled = 0;
  }

  process([channels]) {
    for (let index = 0; index < (channels[0]?.length ?? 0); index += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[index];
      this.block[this.filled] = sum / channels.length;
      this.filled += 1;
      if (this.filled === LENGTH) {
        this.port.postMessage(this.block.buffer, [this.block.buffer]);
        this.block = new Float32Array(LENGTH);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("samples", Samples);
