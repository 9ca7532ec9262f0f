// A patch's whole life with xen-api: mission.mjs MODULES TRANSPORT URL PASSWORD APPLIED PIPED BUFFERED
// The last three are signed patches, in files that are named as the patches' UUIDs.
import assert from 'node:assert/strict'
import { createReadStream, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { Readable } from 'node:stream'

const [modules, transport, url, password, applied, piped, buffered] = process.argv.slice(2)
const { createClient } = await import(`${modules}/xen-api/index.mjs`)
const { default: { CancelToken } } = await import(`${modules}/promise-toolbox/index.js`)

// What the client cannot make sense of it only mentions. That a stream has been given up is no such thing.
const complaints = []
console.warn = (...words) => words.at(-1)?.code === 'ERR_STREAM_PREMATURE_CLOSE' || complaints.push(words)

const options = { url, transport, allowUnauthorized: true, debounce: 0 }
const fails = (promise, code) => assert.rejects(promise, error => error.code === code || assert.fail(error))

const stranger = createClient({ ...options, auth: { user: 'root', password: 'guessed' }, watchEvents: false })
await fails(stranger.connect(), 'SESSION_AUTHENTICATION_FAILED')

const xapi = createClient({ ...options, auth: { user: 'root', password } })
await xapi.connect()
await xapi.objectsFetched
// It fetches tasks anew when events have told of others than valid_ref_counts has.
let refetched = 0
const refresh = xapi._refreshCachedRecords
xapi._refreshCachedRecords = types => (refetched++, refresh.call(xapi, types))
const [host] = await xapi.getAllRecords('host')
assert.equal(xapi.pool.master, host.$ref)
const cached = xapi.getObject(host.$id)
assert.equal(cached.name_label, host.name_label)
assert.equal(cached.$pool, xapi.pool)
assert.equal(cached.$metrics.live, true)

// until resolves once the client's own copy of the pool's objects fulfils a condition: nothing is asked, events tell.
const until = condition =>
  new Promise(resolve => {
    const look = () => condition() && (xapi.objects.removeListener('finish', look), resolve())
    xapi.objects.on('finish', look)
    look()
  })
const known = id => xapi.getObject(id, undefined)

// Uploads: a stream of a known length, one that ends where it ends, and a buffer, under a task as Xen Orchestra makes them.
const upload = (body, options) => xapi.putResource(body, '/pool_patch_upload', options)
const stream = createReadStream(applied)
stream.length = statSync(applied).size
for (const [file, body, options] of [
  [applied, stream],
  [piped, createReadStream(piped)],
  [buffered, await readFile(buffered), { task: xapi.createTask('[XO] Patch upload', 'In memory') }],
]) {
  const ref = await upload(body, options)
  const uuid = basename(file)
  await until(() => known(uuid))
  const patch = known(uuid)
  assert.equal(patch.$ref, ref)
  assert.equal(Number(patch.size), statSync(file).size) // XML-RPC has ints as strings
  assert.equal(patch.$VDI.$SR.$id, xapi.pool.$default_SR.$id)
}
assert.deepEqual(complaints.map(words => words.slice(1)), [['Xapi#putResource', '/pool_patch_upload', 'missing length']])
complaints.length = 0
await fails(upload(Buffer.from('no patch')), 'INVALID_PATCH')
const bad = Readable.from([Buffer.from('no patch')])
bad.length = 8
await fails(upload(bad), 'INVALID_PATCH')
const back = await xapi.getResource('/pool_patch_download', { query: { uuid: basename(piped) } })
assert.deepEqual(Buffer.from(await back.body.arrayBuffer()), await readFile(piped))
assert.equal(await back.task, '')

// An upload that is given up in the middle leaves nothing: its VDI goes.
const disks = () => Object.values(xapi.objects.all).filter(object => object.$type === 'VDI')
const before = disks().length
const half = new Readable({ read() {} })
half.push((await readFile(applied)).subarray(0, 1 << 20))
half.length = statSync(applied).size
const { cancel, token } = CancelToken.source()
xapi.putResource(token, half, '/pool_patch_upload').catch(() => {}) // it does not end: the stream does not
await until(() => disks().length > before)
cancel()
await until(() => disks().length === before)

// Tasks that are waited for by events, and errors with their parameters.
const patch = known(basename(applied))
assert.equal(await patch.$callAsync('precheck', host.$ref), 'prechecked\n')
assert.match(await xapi.callAsync('pool_patch.apply', patch.$ref, host.$ref), /applied\n$/)
await until(() => known(patch.uuid).host_patches.length === 1)
assert.equal(known(patch.uuid).$host_patches[0].$host.$ref, host.$ref)
assert.ok(known(host.$id).pending_guidances.includes('reboot_host'))
await assert.rejects(xapi.callAsync('pool_patch.apply', patch.$ref, host.$ref), { code: 'PATCH_ALREADY_APPLIED', params: [patch.$ref] })
const stopped = known(basename(buffered))
await assert.rejects(stopped.$call('precheck', host.$ref), { code: 'PATCH_PRECHECK_FAILED_VM_RUNNING', params: [stopped.$ref] })
await assert.rejects(xapi.call('VDI.get_record', 'OpaqueRef:gone'), { code: 'HANDLE_INVALID', params: ['VDI', 'OpaqueRef:gone'] })
await fails(xapi.call('pool_patch.no_such_message'), 'MESSAGE_METHOD_UNKNOWN')

// Fields, and the barrier that waits until an event has shown them.
await xapi.setFieldEntry('pool_patch', patch.$ref, 'other_config', 'mission', transport)
await xapi.barrier()
assert.equal(known(patch.uuid).other_config.mission, transport)

// What is destroyed goes out of the client's copy. The record of the applied patch stays, without its VDI.
for (const file of [applied, piped, buffered]) {
  const record = known(basename(file))
  const vdi = record.VDI
  assert.equal(await record.$VDI.$callAsync('destroy'), '')
  await until(() => xapi.getObjectByRef(vdi, undefined) === undefined)
  if (file !== applied) await until(() => known(record.uuid) === undefined)
}
assert.equal((await xapi.getRecordByUuid('pool_patch', patch.uuid)).$VDI, undefined)

// An image goes into a VDI without its length, and comes back.
const size = 1 << 20
const image = Buffer.alloc(size, `image over ${transport}.`)
const disk = await xapi.call('VDI.create', {
  name_label: 'disk of xen-api', name_description: '', SR: xapi.pool.default_SR, virtual_size: size, type: 'user',
  sharable: false, read_only: false, other_config: {},
})
await xapi.putResource(Readable.from([image]), '/import_raw_vdi', { query: { vdi: disk, format: 'raw' } })
complaints.length = 0
const exported = await xapi.getResource('/export_raw_vdi', { query: { vdi: disk, format: 'raw' } })
assert.ok(Buffer.from(await exported.body.arrayBuffer()).equals(image))
await exported.task
await xapi.callAsync('VDI.destroy', disk)
assert.equal(refetched, 0)
assert.deepEqual(complaints, [])

await xapi.disconnect()

// A session that ended meanwhile is replaced by itself. The client's own loop over events would do that too, at the same time.
const brief = createClient({ ...options, auth: { user: 'root', password }, watchEvents: false })
await brief.connect()
await brief._call('session.logout', [brief.sessionId])
assert.equal(await brief.getField('pool_patch', patch.$ref, 'name_label'), 'With a length')
await brief.disconnect()
process.exit() // the last event.from would be waited for
