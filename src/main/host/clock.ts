/** Host time from Node's high-resolution clock. */
import { performance } from 'node:perf_hooks'
import type { HostClock } from '../vmm/ports'

export class NodeClock implements HostClock {
  /** Guests ask at every system call. Node's global of the same name is a getter, which costs half as much again as the reading. */
  monotonicNs(): number {
    return performance.now() * 1e6
  }

  wallMs(): number {
    return Date.now()
  }
}
