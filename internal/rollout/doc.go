// Package rollout decides how a patch goes onto a whole pool: which host is prechecked or applied next,
// when the rollout waits for a person, when it starts no further host, and how it ends.
//
// It is a pure core: a value, what happened, what is to be done now. It runs nothing, asks no host, reads
// no database and has no clock but the times that it is given; its caller does that. The value is a
// record ([Rollout.Bytes], [Parse]), so the rollout outlives the coordinator that began it.
//
// Its invariants: no host is applied before every host's precheck has passed; the canary comes before the
// coordinator and the coordinator before the others; a start is in the record before it is made, so no
// host is started twice; an interrupted host is never started again; and the rollout comes to its end if
// the hosts answer.
//
// The protocol of the caller, in one transaction: Parse the record, [Rollout.Observe] what happened,
// [Rollout.Next], write the record. Only then it does the commands. A transaction that is tried again
// decides the same again. A crash between the write and the commands leaves starts that nobody made: the
// next coordinator observes which hosts are live, asks those in [Rollout.Unanswered] how far they are,
// observes their answers, and goes on with Next as if nothing had been.
//
// Start with state.go, which says what can be true of one host, then next.go, which has the rules.
package rollout
