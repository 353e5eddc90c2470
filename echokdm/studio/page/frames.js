// The frames of both pictures, as far as they are fetched.

const KEPT = 400;  // of a picture

export class Frames {
  constructor() {
    this.kept = { source: new Map(), result: new Map() };
    this.state = null;
  }

  /** Frames of a state that the server told, of `session`. isNew: of another clip. */
  begin(session, state, isNew) {
    Object.assign(this, { session, state });
    if (isNew) this.kept.source.clear();
    this.kept.result.clear();
  }

  end() {
    this.state = null;
  }

  /** A frame of "source" or "result": {image, made}, made false of a preview, which is not kept. */
  async get(name, at) {
    const { state } = this, kept = this.kept[name], place = name === "source" ? state.picks[at] : at;
    if (kept.has(place)) return kept.get(place);
    const got = await this.session.frame(name, at);
    if (got.made && state === this.state) {
      kept.set(place, got);
      if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    }
    return got;
  }

  /** Fetch those that are not here yet, from one on, so that they play without a stop. */
  async fill(from) {
    const { state } = this;
    for (let ahead = 0; ahead < Math.min(state.picks.length, KEPT) && state === this.state; ahead += 1) {
      const at = (from + ahead) % state.picks.length;
      await Promise.all(["source", "result"].map((name) => this.get(name, at).catch(() => null)));
    }
  }
}
