// A stream of messages that survives a broken connection: it comes back by itself and asks for what follows the last
// message that was seen, so that nothing is missed and nothing comes twice.
import { leaveForLogin, renew } from "../shell/session";

export interface Message {
  ts: string;
  type: "progress" | "status" | "stdout" | "stderr" | "done" | "error";
  payload: string;
  // biome-ignore lint/suspicious/noExplicitAny: what it holds depends on the type (docs/guide/api.md)
  data?: any;
  seq: number;
  task_id: string | null;
  task_seq?: number;
}

/** `live`: connected; `waiting`: cut off, trying again; `ended`: all was told; `refused`: the server wants no more. */
export type State = "live" | "waiting" | "ended" | "refused";

const OVER = 1000;
const LOGGED_OUT = 4401;
const REFUSED = new Set([4403, 4404, 4422]);
const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 10_000;
/** A server that says nothing for so long is taken for lost: it would have told how things stand. */
const QUIET_MS = 15_000;

export class Stream {
  private socket: WebSocket | null = null;
  private timer = 0;
  private wait = FIRST_WAIT_MS;
  private closed = false;
  private watchdog = 0;

  /** `path`: of a stream without output, which says something every few seconds. */
  constructor(
    private readonly path: string,
    private after: number,
    private readonly onMessage: (message: Message) => void,
    private readonly onState: (state: State) => void,
  ) {
    this.connect();
    window.addEventListener("online", this.hurry);
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    window.clearTimeout(this.watchdog);
    window.removeEventListener("online", this.hurry);
    this.socket?.close();
  }

  private readonly hurry = (): void => {
    if (!this.closed && this.socket === null) {
      window.clearTimeout(this.timer);
      this.connect();
    }
  };

  private connect(): void {
    const url = new URL(this.path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("after", String(this.after));
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      this.watch(socket);
      const message: Message = JSON.parse(event.data as string);
      if (this.wait !== FIRST_WAIT_MS || this.after < 0) this.onState("live");
      this.wait = FIRST_WAIT_MS;
      this.after = Math.max(this.after, message.seq);
      this.onMessage(message);
    });
    socket.addEventListener("open", () => {
      if (socket === this.socket) this.onState("live");
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.socket) this.onClose(event.code);
    });
    this.watch(socket);
  }

  /** A connection may be gone without anybody saying so. */
  private watch(socket: WebSocket): void {
    window.clearTimeout(this.watchdog);
    this.watchdog = window.setTimeout(() => {
      if (socket !== this.socket || this.closed) return;
      this.onClose(0);
      socket.close();
    }, QUIET_MS);
  }

  private onClose(code: number): void {
    window.clearTimeout(this.watchdog);
    this.socket = null;
    if (this.closed) return;
    if (code === OVER) this.finish("ended");
    else if (REFUSED.has(code)) this.finish("refused");
    else {
      this.onState("waiting");
      if (code === LOGGED_OUT) void renew().then((alive) => (alive ? this.retry() : leaveForLogin()));
      else this.retry();
    }
  }

  private retry(): void {
    this.timer = window.setTimeout(() => this.connect(), this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }

  private finish(state: State): void {
    this.closed = true;
    window.removeEventListener("online", this.hurry);
    this.onState(state);
  }
}
