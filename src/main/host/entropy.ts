/** Random bytes from the host's generator. */
import { getRandomValues } from 'node:crypto'
import type { EntropySource } from '../vmm/ports'

/** Most bytes one call of the Web Crypto interface gives. */
const CHUNK = 65536

export class NodeEntropy implements EntropySource {
  fill(target: Uint8Array): void {
    for (let at = 0; at < target.length; at += CHUNK) {
      const part = new Uint8Array(Math.min(CHUNK, target.length - at))
      getRandomValues(part)
      target.set(part, at)
    }
  }
}
