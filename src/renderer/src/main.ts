/** Entry of the page: finds the manager and shows the interface. */
import type { NestboxBridge } from '@contract/index'
import { createClient } from './api/client'
import { takeToken, WebSocketBridge } from './api/transport-websocket'
import { mountApp, showMissingToken } from './mount'

declare global {
  interface Window {
    /** Given by the preload script inside Electron; absent in a browser. */
    readonly nestbox?: NestboxBridge
  }
}

function findBridge(): NestboxBridge | undefined {
  if (window.nestbox) return window.nestbox
  const token = takeToken()
  return token === undefined ? undefined : WebSocketBridge.fromPage(token)
}

const bridge = findBridge()
if (bridge) mountApp(createClient(bridge), '#app')
else showMissingToken('#app')
