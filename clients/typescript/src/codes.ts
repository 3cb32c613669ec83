// Generated from common/src/wire/code.rs; do not edit.

/** What an error code promises. */
export interface CodeInfo {
  /** The fixed text that is shown. */
  readonly message: string;
  /** The HTTP status before the upgrade; null where there is none. */
  readonly http: number | null;
}

/** What a close code promises. */
export interface CloseInfo {
  readonly name: string;
  readonly reason: string;
  /** The client may connect again by itself. */
  readonly reconnect: boolean;
  /** The session may be resumed. */
  readonly resume: boolean;
}

/** Every error code of the protocol. */
export const ERROR_CODES = {
  malformed: { message: "The message or request is malformed.", http: 400 },
  unauthenticated: { message: "Authentication is required.", http: 401 },
  token_expired: { message: "The token has expired.", http: null },
  forbidden: { message: "This is not allowed.", http: 403 },
  origin_denied: { message: "This origin is not allowed.", http: 403 },
  csrf_invalid: { message: "The CSRF token is missing or not valid.", http: null },
  type_unknown: { message: "This message type is not known.", http: null },
  schema_invalid: { message: "The payload does not have the required form.", http: null },
  too_large: { message: "This is too large.", http: 413 },
  rate_limited: { message: "Too many requests.", http: 429 },
  restricted: { message: "This session is restricted for a while.", http: 403 },
  banned: { message: "Access is not possible.", http: 403 },
  session_limit: { message: "Too many sessions.", http: 429 },
  session_terminated: { message: "The session has ended.", http: null },
  not_member: { message: "Not a member of this room.", http: null },
  conflict: { message: "This contradicts the present state.", http: 409 },
  upstream_unavailable: { message: "The service behind is not available.", http: 502 },
  store_unavailable: { message: "The service is not available for a moment.", http: 503 },
  internal: { message: "Something went wrong.", http: 500 },
} as const satisfies Record<string, CodeInfo>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Every close code of the protocol, by number. */
export const CLOSE_CODES = {
  1000: { name: "normal", reason: "done", reconnect: false, resume: false },
  1001: { name: "going_away", reason: "going away", reconnect: true, resume: true },
  1002: { name: "protocol", reason: "protocol error", reconnect: false, resume: false },
  1003: { name: "unsupported", reason: "unsupported data", reconnect: false, resume: false },
  1007: { name: "invalid_data", reason: "invalid data", reconnect: false, resume: false },
  1008: { name: "policy", reason: "policy violation", reconnect: false, resume: false },
  1009: { name: "too_big", reason: "message too big", reconnect: false, resume: false },
  1011: { name: "internal", reason: "internal error", reconnect: true, resume: true },
  1012: { name: "restart", reason: "service restart", reconnect: true, resume: true },
  1013: { name: "try_later", reason: "try again later", reconnect: true, resume: true },
  4401: { name: "unauthenticated", reason: "unauthenticated", reconnect: false, resume: false },
  4403: { name: "forbidden", reason: "forbidden", reconnect: false, resume: false },
  4408: { name: "timeout", reason: "timeout", reconnect: true, resume: true },
  4409: { name: "terminated", reason: "session terminated", reconnect: false, resume: false },
  4429: { name: "rate_limited", reason: "rate limited", reconnect: true, resume: false },
  4508: { name: "slow_consumer", reason: "slow consumer", reconnect: true, resume: true },
} as const satisfies Record<number, CloseInfo>;

export type CloseCode = keyof typeof CLOSE_CODES;
