package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
)

const (
	// leaderDeadline is how long an election may take from when the leader was missed; where a majority runs it takes one
	// to two seconds.
	leaderDeadline = 3 * time.Second
	// quorumDeadline bounds the wait for a majority's answer.
	quorumDeadline = 3 * time.Second
	// lookInterval is between two looks at whether the leader of a request under way is still there.
	lookInterval = time.Second
)

// ErrNoQuorum says that no majority of the members can be reached: nothing can be committed.
var ErrNoQuorum = errors.New("no majority of the database's members can be reached")

// HasLeader tells without waiting whether this member knows a leader. Without one no commit can succeed; with
// one it may still fail, because a loss is noticed one to two seconds late.
func (s *Server) HasLeader() bool { return s.etcd.Server.Leader() != 0 }

// Quorum asks a majority for an answer. It gives ErrNoQuorum when there is none, after a few seconds at most.
func (s *Server) Quorum(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, quorumDeadline)
	defer cancel()
	_, err := s.client.Get(asked, "/", clientv3.WithCountOnly())
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	return err
}

// electorate is a member's look at who leads the cluster. An election has a while from the moment when the leader was
// missed; whoever asks later does not wait anew.
type electorate struct {
	server *etcdserver.EtcdServer

	mu     sync.Mutex
	missed time.Time       // when somebody first found no leader
	next   <-chan struct{} // closed when there is the next one
}

// await waits for an election that is under way, and then refuses with rpctypes.ErrNoLeader.
func (e *electorate) await(ctx context.Context) error {
	for {
		elected, left := e.absence()
		if e.server.Leader() != 0 {
			return nil
		}
		if left <= 0 {
			return rpctypes.ErrGRPCNoLeader
		}
		deadline := time.NewTimer(left)
		select {
		case <-elected:
		case <-deadline.C:
		case <-e.server.StoppingNotify():
			return rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			return ctx.Err()
		}
		deadline.Stop()
	}
}

// absence gives what is closed when there is the next leader, and how long that may still take if there is none now.
func (e *electorate) absence() (elected <-chan struct{}, left time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.next == nil || isClosed(e.next) || e.server.Leader() != 0 {
		e.missed, e.next = now, e.server.LeaderChangedNotify()
	}
	return e.next, e.missed.Add(leaderDeadline).Sub(now)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// newClient makes a client in this process. Its commits and reads are refused where there is no leader.
func newClient(e *electorate) *clientv3.Client {
	c := v3client.New(e.server)
	c.KV = clientv3.NewKVFromKVClient(adapter.KvServerToKvClient(gate{v3rpc.NewQuotaKVServer(e.server), e}), c)
	return c
}

// gate refuses, before anything is proposed, what etcd would keep until its own deadline of 7 s: so a refusal
// is known to have changed nothing.
type gate struct {
	pb.KVServer
	electorate *electorate
}

// Range implements etcdserverpb.KVServer.
func (g gate) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if r.Serializable { // of this member's own copy
		return g.KVServer.Range(ctx, r)
	}
	return led(ctx, g.electorate, func(ctx context.Context) (*pb.RangeResponse, error) { return g.KVServer.Range(ctx, r) })
}

// Put implements etcdserverpb.KVServer.
func (g gate) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return led(ctx, g.electorate, func(ctx context.Context) (*pb.PutResponse, error) { return g.KVServer.Put(ctx, r) })
}

// DeleteRange implements etcdserverpb.KVServer.
func (g gate) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return led(ctx, g.electorate, func(ctx context.Context) (*pb.DeleteRangeResponse, error) { return g.KVServer.DeleteRange(ctx, r) })
}

// Txn implements etcdserverpb.KVServer.
func (g gate) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return led(ctx, g.electorate, func(ctx context.Context) (*pb.TxnResponse, error) { return g.KVServer.Txn(ctx, r) })
}

// remoteGate does the same for clients in other processes, and for their leases.
func remoteGate(e *electorate) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if !needsLeader(info.FullMethod, request) {
			return handle(ctx, request)
		}
		return led(ctx, e, func(ctx context.Context) (any, error) { return handle(ctx, request) })
	}
}

func needsLeader(method string, request any) bool {
	if r, ok := request.(*pb.RangeRequest); ok && r.Serializable {
		return false
	}
	return strings.HasPrefix(method, "/etcdserverpb.KV/") || strings.HasPrefix(method, "/etcdserverpb.Lease/")
}

// led makes a request under one leader. What it is asked when the leader is lost, which etcd would wait for until
// its own deadline, gives rpctypes.ErrTimeoutDueToLeaderFail: it may have been done or not.
func led[R any](ctx context.Context, e *electorate, request func(context.Context) (R, error)) (R, error) {
	var none R
	if err := e.await(ctx); err != nil {
		return none, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go watchLeader(ctx, e.server, cancel)
	reply, err := request(ctx)
	if err != nil && errors.Is(context.Cause(ctx), rpctypes.ErrGRPCTimeoutDueToLeaderFail) {
		return none, rpctypes.ErrGRPCTimeoutDueToLeaderFail
	}
	return reply, err
}

// watchLeader ends a request whose leader is no longer there. What the old leader has passed on is answered before
// the next look.
func watchLeader(ctx context.Context, s *etcdserver.EtcdServer, cancel context.CancelCauseFunc) {
	leader := s.Leader()
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if s.Leader() != leader {
				cancel(rpctypes.ErrGRPCTimeoutDueToLeaderFail)
				return
			}
		}
	}
}
