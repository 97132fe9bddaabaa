/** Entry of the thread that translates guest code for the machine of this process. */
import { parentPort } from 'node:worker_threads'
import { NodeClock, NodeWasmEngine } from '../host'
import { serveTranslations } from '../vmm/machine'

const answer = serveTranslations(new NodeWasmEngine(), new NodeClock())

parentPort?.on('message', (message: unknown) => {
  const reply = answer(message)
  if (reply) parentPort?.postMessage(reply)
})
