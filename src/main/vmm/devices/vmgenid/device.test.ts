import { describe, expect, it } from 'vitest'
import { TestMemory } from '../../virtio/queue/test-memory'
import { guidBytes, VmGeneration } from './device'

const A = '00112233-4455-6677-8899-aabbccddeeff'
const B = '324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87'

describe('VmGeneration', () => {
  it('lays GUIDs out as Microsoft does', () => {
    expect([...guidBytes(A)]).toEqual([0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff])
    for (const bad of ['', 'x', `${A}00`, A.replace('0', 'g')]) expect(() => guidBytes(bad)).toThrow(RangeError)
  })

  it('tells the guest of another generation only', () => {
    const memory = new TestMemory(4096)
    let raised = 0
    const generation = new VmGeneration(memory, 0x40, () => raised++)
    generation.put(A)
    generation.renew(A)
    expect(raised).toBe(0)
    generation.renew(B)
    expect(raised).toBe(1)
    expect(memory.bytes.subarray(0x40, 0x50)).toEqual(guidBytes(B))
    generation.renew(B)
    expect(raised).toBe(1)
    expect(memory.bytes.every((byte, i) => byte === 0 || (i >= 0x40 && i < 0x50))).toBe(true)
  })
})
