/** Entry of the thread that translates guest code for the machine of this process. */
import { setFlagsFromString } from 'node:v8'
import { parentPort } from 'node:worker_threads'
import { giveWayToGuest, NodeClock, NodeWasmEngine } from '../host'
import { serveTranslations } from '../vmm/machine'

giveWayToGuest()
const wasm = new NodeWasmEngine()

/** The engine would compile each function when the guest first comes to it, on the guest's thread: here it is done at once. */
function compile(bytes: Uint8Array): unknown {
  setFlagsFromString('--no-wasm-lazy-compilation')
  try {
    return wasm.compile(bytes)
  } finally {
    setFlagsFromString('--wasm-lazy-compilation')
  }
}

function optimise(bytes: Uint8Array): unknown {
  setFlagsFromString('--no-liftoff')
  try {
    return compile(bytes)
  } finally {
    setFlagsFromString('--liftoff')
  }
}

const answer = serveTranslations({ compile, optimise }, new NodeClock())

/** null: there is no more to be done. A machine does not say that, it ends the thread; the build does. */
parentPort?.on('message', (message: unknown) => {
  if (message === null) return parentPort?.close()
  const reply = answer(message)
  if (reply) parentPort?.postMessage(reply)
})
