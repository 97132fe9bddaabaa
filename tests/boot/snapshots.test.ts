/**
 * Snapshots of a Debian guest that writes to its disk, reads back, sleeps and speaks all the time, taken at any instant. Each is
 * continued in a process of its own: what the guest says from there on, to the byte, its own checksums, and its disk at the end are
 * those of the machine that nobody held.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildVmHost } from '../fixtures/build-vm-host'
import { ManagerRig } from '../state/manager-rig'

const guest = fileURLToPath(new URL('../../.cache/guests/amd64-cloud', import.meta.url))
const SNAPSHOTS = 6
const ROUNDS = 40
/** What the guest works on, behind data that has to be copied first: it overwrites what its snapshot has not yet. */
const WORKED_ON_BYTES = 16 << 20
const DATA_BYTES = 128 << 20
const FIRST_BLOCK = DATA_BYTES / 4096
const WAIT_MS = 240_000
/** Most of the machine's own time that a round may take, in hundredths of a second. */
const LONGEST_ROUND = 3000

/**
 * In each round: data that only the round decides goes to the disk and through it, is read back past the guest's cache, and its sum is
 * told; then a timer, and a look at the clock. Beside it a job writes to another part of the disk, and what it has made is told at the end.
 */
const WORK = `
other() { j=0; while [ $j -lt ${ROUNDS} ]; do j=$((j+1)); seq $j $((j+3000)) | dd of=/dev/vda bs=4k seek=$((${FIRST_BLOCK}+2048+j*8)) conv=notrunc,fsync 2>/dev/null; usleep 3000; done; }
clock() { c=$(cut -d' ' -f1 /proc/uptime); echo \${c%.*}\${c#*.}; }
other &
i=0; t=$(clock); sum=0
while [ $i -lt ${ROUNDS} ]; do
  i=$((i+1))
  seq $((i*1000)) $((i*1000+2500)) | dd of=/dev/vda bs=4k seek=$((${FIRST_BLOCK}+i*17%400*4)) conv=notrunc,fsync 2>/dev/null
  echo 3 > /proc/sys/vm/drop_caches
  told=$(dd if=/dev/vda bs=4k skip=$((${FIRST_BLOCK}+i*17%400*4)) count=4 2>/dev/null | md5sum)
  usleep 5000
  u=$(clock); [ $u -ge $t ] && [ $u -lt $((t+${LONGEST_ROUND})) ] || echo "clock went from $t to $u"; t=$u
  echo "round $i \${told%% *}"
done
wait
echo "all $(dd if=/dev/vda bs=4k skip=${FIRST_BLOCK} 2>/dev/null | md5sum)"
echo FINISHED
`

/** The shell asks for more: nothing else is said then. */
const END = /FINISHED\s+.*# $/

describe('snapshots of a guest in the middle of its work', () => {
  let rig: ManagerRig
  let id: string
  let disk: string

  async function wait(pattern: RegExp, from = 0): Promise<void> {
    const end = Date.now() + WAIT_MS
    while (!pattern.test(rig.said.slice(from))) {
      if (Date.now() > end) throw new Error(`${String(pattern)} did not appear; the console's end:\n${rig.said.slice(-2000)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  const type = (text: string): Promise<unknown> => rig.call('console.write', { id, port: 'ttyS0', text })
  const diskNow = (): string => createHash('sha256').update(readFileSync(disk)).digest('hex')

  beforeAll(async () => {
    expect(existsSync(join(guest, 'vmlinuz')), 'run scripts/setup/guests.mjs').toBe(true)
    rig = new ManagerRig(buildVmHost(), 1)
    await rig.open()
    disk = join(rig.home, 'disk.img')
    writeFileSync(disk, randomBytes(DATA_BYTES))
    truncateSync(disk, DATA_BYTES + WORKED_ON_BYTES)
    ;({ id } = await rig.create({
      name: 'busy', memoryMiB: 256, kernel: join(guest, 'vmlinuz'), initrd: join(guest, 'initrd.gz'), commandLine: 'console=ttyS0 panic=-1',
      disks: [{ path: disk, format: 'raw', readOnly: false }],
    }))
    await rig.call('console.open', { id, port: 'ttyS0' })
    await rig.call('machine.start', { id })
    await wait(/NESTBOX-SHELL-READY[\s\S]*# /)
  }, WAIT_MS)
  afterAll(() => rig.close())

  it('go on exactly, each in another process', async () => {
    await type(`dmesg -n 1; stty -echo; cat > /tmp/work <<'END'\n${WORK}END\necho "KE""PT"\n`)
    // The terminal has shown the script too.
    await wait(/KEPT/)
    const begun = rig.said.length
    await type('sh /tmp/work\n')
    const taken: { snapshotId: string; from: number; to: number }[] = []
    for (let i = 0; i < SNAPSHOTS; i++) {
      const round = Math.floor(((i + Math.random()) * (ROUNDS - 8)) / SNAPSHOTS) + 1
      await wait(new RegExp(`round ${round} `), begun)
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60))
      const from = rig.said.length
      const { id: snapshotId } = await rig.call('snapshot.take', { id })
      taken.push({ snapshotId, from, to: rig.said.length })
    }
    await wait(END, begun)
    await rig.call('machine.forceStop', { id })
    const [uninterrupted, diskAtTheEnd] = [rig.said, diskNow()]
    expect([...uninterrupted.slice(begun).matchAll(/round (\d+) [0-9a-f]{32}/g)].map(([, n]) => Number(n))).toEqual(Array.from({ length: ROUNDS }, (_, i) => i + 1))
    expect(uninterrupted.slice(begun)).not.toContain('clock went')
    const pids = new Set<number | undefined>()
    for (const { snapshotId, from, to } of taken) {
      const start = rig.said.length
      await rig.call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true })
      pids.add((await rig.call('machine.get', { id })).pid)
      await wait(END, start)
      await rig.call('machine.forceStop', { id })
      const said = rig.said.slice(start)
      expect(uninterrupted.slice(-said.length)).toBe(said)
      // It began where the snapshot was taken, and said neither less nor more.
      expect(uninterrupted.length - said.length).toBeGreaterThanOrEqual(from)
      expect(uninterrupted.length - said.length).toBeLessThanOrEqual(to)
      expect(diskNow()).toBe(diskAtTheEnd)
    }
    expect(pids.size).toBe(SNAPSHOTS)
  }, 4 * WAIT_MS)
})
