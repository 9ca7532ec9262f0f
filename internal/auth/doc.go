// Package auth is users, sessions and roles: who calls, and what the caller may do.
//
// Its invariant: the zero value allows nothing. A session without a role that is not the local superuser
// may send no message, and a user without a password can not log in by one. Who a user of the pool's directory is,
// internal/directory says; what that allows is said here, by the subjects of the user and of the user's groups.
//
// It knows no HTTP: internal/httpd takes credentials out of a request and gives them to
// [Service.Authenticate]. Start there, or with [Service.Login].
package auth
