// Follows the patches of a pool with xen-api until it is ended: follow.mjs MODULES URL PASSWORD
// Each time that it has heard of something it prints the UUIDs that it knows, in a line.
const [modules, url, password] = process.argv.slice(2)
const { createClient } = await import(`${modules}/xen-api/index.mjs`)

console.warn = () => {} // of every connection that is refused
const xapi = createClient({ url, allowUnauthorized: true, debounce: 0, eventPollDelay: 100, auth: { user: 'root', password } })
xapi.objects.on('finish', () => {
  const patches = Object.values(xapi.objects.all).filter(object => object.$type === 'pool_patch')
  console.log(patches.map(patch => patch.uuid).sort().join(' '))
})
await xapi.connect()
