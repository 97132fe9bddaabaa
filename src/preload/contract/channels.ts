/** Names on the wire; no schemas here, so that the preload script stays small. */

/** Electron: `ipcRenderer.invoke(CALL_CHANNEL, name, params)` gives a CallOutcome; events arrive as `(EVENT_CHANNEL, name, payload)`. */
export const CALL_CHANNEL = 'nestbox:call'
export const EVENT_CHANNEL = 'nestbox:event'

/** `nestbox serve` prints `http://127.0.0.1:PORT/#token=…`; the page opens `ws://…/ws` with the protocols `nestbox` and `token.<token>`. */
export const WEBSOCKET_PATH = '/ws'
export const WEBSOCKET_PROTOCOL = 'nestbox'
export const TOKEN_PROTOCOL_PREFIX = 'token.'
