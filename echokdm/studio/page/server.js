// What the page asks of its server. A refusal is one sentence, which the server words.

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The studio doesn't answer: it was stopped. Start it again with `echokdm studio`.");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.error ?? "The studio refused this without a reason."), { status: answer.status });
}

const post = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

/** A session of `file` or, without one, of the clip that the command named: {session, state}, session null where there is none. */
export const begin = async (file) => (await ask("sessions", { method: "POST", body: file })).json();

export const stop = () => ask("stop", { method: "POST" });

/** One session on the server. */
export class Session {
  constructor(name) {
    this.name = name;
    this.path = `sessions/${name}`;
  }

  state = async () => (await ask(this.path)).json();
  making = async () => (await ask(`${this.path}/making`)).json();
  preview = async (change) => (await post(`${this.path}/preview`, change)).json();
  change = async (change) => (await post(`${this.path}/changes`, change)).json();
  undo = async (frame) => (await post(`${this.path}/undo`, { frame })).json();
  redo = async (frame) => (await post(`${this.path}/redo`, { frame })).json();
  mModes = async () => (await ask(`${this.path}/m-mode`)).json();
  outlines = async () => (await ask(`${this.path}/keypoints.csv`)).blob();
  exported = async () => (await ask(`${this.path}/export`, { method: "POST" })).blob();
  close = () => ask(this.path, { method: "DELETE" });

  /** A frame of "source" or "result": {image, made}. */
  async frame(kind, frame) {
    const answer = await ask(`${this.path}/${kind}/${frame}.jpg`);
    return { image: await createImageBitmap(await answer.blob()), made: answer.headers.get("X-Picture") !== "preview" };
  }
}

/** Whether this tab alone has the session: a tab that was duplicated has its memory, but not its lock. */
export async function isOurs(name) {
  if (!navigator.locks) return true;
  for (let tries = 0; tries < 10; tries += 1) {  // after a reload the page before may hold it for a moment
    const ours = await new Promise((tell) => {
      navigator.locks.request(`studio-${name}`, { ifAvailable: true }, (lock) => {
        tell(lock !== null);
        return lock === null ? undefined : new Promise(() => {});  // held as long as the page lives
      });
    });
    if (ours) return true;
    await new Promise((wake) => setTimeout(wake, 60));
  }
  return false;
}
