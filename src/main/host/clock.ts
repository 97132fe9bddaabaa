/** Host time from Node's high-resolution clock. */
import type { HostClock } from '../vmm/ports'

export class NodeClock implements HostClock {
  monotonicNs(): number {
    return performance.now() * 1e6
  }

  wallMs(): number {
    return Date.now()
  }
}
