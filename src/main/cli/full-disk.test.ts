import { describe, expect, it } from 'vitest'
import { VmmError } from '../vmm/errors'
import { FullDisk } from './full-disk'

const full = new VmmError('disk-full', '/d/x.img: cannot write at byte 0: the host\'s disk is full', { path: '/d/x.img' })

describe('a full disk without a manager', () => {
  it('holds the guest, says so once, and lets it go on when there is room', async () => {
    const events: string[] = []
    let triesLeft = 3
    const wait: FullDisk = new FullDisk({
      retryMs: 1,
      machine: {
        retryDisks: () => {
          events.push('retry')
          if (--triesLeft > 0) wait.stalled(full)
        },
        drain: () => Promise.resolve(),
      },
      loop: { pause: () => events.push('pause'), resume: () => events.push('resume') },
      say: (text) => events.push(text.includes('room on the disk again') ? 'room' : 'full'),
    })
    wait.stalled(full)
    wait.stalled(full)
    while (!events.includes('resume')) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(events).toEqual(['pause', 'full', 'retry', 'pause', 'retry', 'pause', 'retry', 'room', 'resume'])
    events.length = 0
    wait.stalled(full)
    wait.end()
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(events).toEqual(['pause', 'full'])
  })
})
