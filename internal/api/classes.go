package api

import "poolpatch/xenapi"

// Classes lists the classes that the API serves.
func Classes() []*xenapi.Class {
	return []*xenapi.Class{
		xenapi.ClassOf[xenapi.Session](), xenapi.ClassOf[xenapi.Task](), xenapi.ClassOf[xenapi.Pool](),
		xenapi.ClassOf[xenapi.Host](), xenapi.ClassOf[xenapi.HostMetrics](), xenapi.ClassOf[xenapi.HostPatch](),
		xenapi.ClassOf[xenapi.PoolPatch](), xenapi.ClassOf[xenapi.PoolUpdate](), xenapi.ClassOf[xenapi.SM](), xenapi.ClassOf[xenapi.SR](),
		xenapi.ClassOf[xenapi.PBD](), xenapi.ClassOf[xenapi.VDI](), xenapi.ClassOf[xenapi.VM](),
		xenapi.ClassOf[xenapi.VBD](),
		xenapi.ClassOf[xenapi.User](), xenapi.ClassOf[xenapi.Role](), xenapi.ClassOf[xenapi.Subject](), xenapi.ClassOf[xenapi.Message](),
		xenapi.ClassOf[xenapi.Certificate](),
		xenapi.ClassOf[xenapi.Repository](), xenapi.ClassOf[xenapi.Secret](),
	}
}
