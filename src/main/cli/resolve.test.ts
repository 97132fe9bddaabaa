import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseDisk } from './resolve'

describe('--disk', () => {
  it.each([
    ['a.img', { format: 'raw', readOnly: false }],
    ['a.img,format=qcow2,readonly', { format: 'qcow2', readOnly: true }],
    ['a.img,cache=none,queues=4', { format: 'raw', readOnly: false, cache: 'none', queues: 4 }],
    ['a.img,queues=1,format=qcow2,cache=unsafe', { format: 'qcow2', readOnly: false, cache: 'unsafe', queues: 1 }],
  ])('%s', (text, disk) => {
    expect(parseDisk(text)).toEqual({ path: resolve('a.img'), ...disk })
  })

  it.each(['a.img,cache=fast', 'a.img,queues=9', 'a.img,queues=0', 'a.img,format=vdi', 'a.img,', ',readonly'])("refuses '%s' with what is known", (text) => {
    expect(() => parseDisk(text)).toThrow(/cache=writeback\|writethrough\|none\|directsync\|unsafe, queues=1…8|a file is needed/)
  })
})
