package etcdserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// memberDeadline bounds one change of the membership, or one look at it.
	memberDeadline = 10 * time.Second
	// settleDeadline bounds the wait for a cluster that has just changed: etcd refuses a change while members
	// have been connected for less than 5 s.
	settleDeadline = 20 * time.Second
	// promoteDeadline bounds the wait for a learner that starts and catches up: at most the quota's bytes.
	promoteDeadline = 2 * time.Minute
	// retryInterval is between two tries at either.
	retryInterval = 200 * time.Millisecond
)

// nowhere is the address of a member that nobody dials. A member must have one.
var nowhere = url.URL{Scheme: "unix", Host: "localhost:0"}

// Peer says how a member is reached and reaches the others. The files are PEM. Certificate and key are read anew
// for each connection; the authorities once, at the start (the file may hold several).
type Peer struct {
	// URL (https://address:port) is where the others reach this member's PeerHandler. Where it has changed since
	// an earlier start, Advertise tells the others.
	URL string
	// CertFile and KeyFile are what this member shows to the others, CAFile who signed what the others show.
	CertFile, KeyFile, CAFile string
	// ServerName is what the others' certificates must be for, whatever their address; "" is their address.
	ServerName string
}

// ID is a member's identity in its cluster, never used twice. As text it is hexadecimal, as etcd prints it.
type ID uint64

// String implements fmt.Stringer.
func (id ID) String() string { return strconv.FormatUint(uint64(id), 16) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("member id: %w", err)
	}
	*id = ID(n)
	return nil
}

// Member of a cluster.
type Member struct {
	ID ID
	// Name is Config.Name, and "" until the member has started for the first time.
	Name string
	// URL is Peer.URL.
	URL string
	// Learner has no vote yet, and answers no client but the one in its process.
	Learner bool
}

// place puts a member into its cluster: a new one, or one that exists. Where the directory has a member already,
// etcd ignores all of it but the address and the TLS.
func (c Config) place(e *embed.Config) error {
	own := nowhere
	if c.Peer != nil {
		u, err := url.Parse(c.Peer.URL)
		if err != nil || u.Scheme != "https" || u.Port() == "" {
			return fmt.Errorf("peer URL %q is not https://address:port", c.Peer.URL)
		}
		own = *u
		tls := &e.PeerTLSInfo
		tls.CertFile, tls.KeyFile, tls.TrustedCAFile = c.Peer.CertFile, c.Peer.KeyFile, c.Peer.CAFile
		tls.ServerName = c.Peer.ServerName
	}
	e.AdvertisePeerUrls = []url.URL{own}
	e.InitialCluster = e.InitialClusterFromName(e.Name)
	// Two pools' clusters never have the same id: a member that dials into the wrong one is refused.
	e.InitialClusterToken = rand.Text()
	e.ForceNewCluster = c.Alone
	if len(c.Join) == 0 {
		return nil
	}
	e.ClusterState = embed.ClusterStateFlagExisting
	return c.join(e)
}

// join lists the cluster as etcd wants it. Only URLs count; under the names of their ids, members of one name
// stay apart.
func (c Config) join(e *embed.Config) error {
	if c.Peer == nil {
		return errors.New("joining takes a peer URL")
	}
	if !slices.ContainsFunc(c.Join, func(m Member) bool { return m.URL == c.Peer.URL }) {
		return fmt.Errorf("%s is not among the members to join", c.Peer.URL)
	}
	for _, m := range c.Join {
		if m.URL != c.Peer.URL {
			e.InitialCluster += "," + m.ID.String() + "=" + m.URL
		}
	}
	return nil
}

// Cluster changes who is a member, from a member or from a client.
type Cluster struct {
	client *clientv3.Client
	server *Server // nil where this process is no member
}

// NewCluster reaches the cluster of a client that Connect made.
func NewCluster(client *clientv3.Client) *Cluster { return &Cluster{client: client} }

// failed is closed when the member that is asked has died.
func (c *Cluster) failed() <-chan struct{} {
	if c.server == nil {
		return nil
	}
	return c.server.died.failed
}

// Self is this member's id.
func (s *Server) Self() ID { return ID(s.etcd.Server.MemberID()) }

// Others are the URLs of the other members as this member's own directory knows them: without a majority nobody knows more.
func (s *Server) Others() (urls []string) {
	for _, m := range s.etcd.Server.Cluster().Members() {
		if ID(m.ID) != s.Self() {
			urls = append(urls, m.PeerURLs...)
		}
	}
	return urls
}

// Members lists the cluster as a majority knows it.
func (c *Cluster) Members(ctx context.Context) ([]Member, error) {
	var all []Member
	err := c.change(ctx, "list etcd members", 0, func(ctx context.Context) error {
		reply, err := c.client.MemberList(ctx)
		if err == nil {
			all = members(reply.Members)
		}
		return err
	})
	return all, err
}

// AddLearner admits a member that will start with a URL as its Peer.URL and with Members, asked after this, as
// its Join. A crash between the two leaves a learner without a vote, which does no harm; AddLearner of the same
// URL again gives the same one, and Remove removes it. There can be one learner at a time: a second is
// refused until the first is promoted or removed.
func (c *Cluster) AddLearner(ctx context.Context, peerURL string) (Member, error) {
	all, err := c.Members(ctx)
	if err != nil {
		return Member{}, err
	}
	for _, m := range all {
		if m.URL == peerURL && m.Learner && m.Name == "" { // one that has started may have lost its directory
			return m, nil
		}
	}
	var added Member
	err = c.change(ctx, "add etcd member "+peerURL, settleDeadline, func(ctx context.Context) error {
		reply, err := c.client.MemberAddAsLearner(ctx, []string{peerURL})
		if err == nil {
			added = members([]*pb.Member{reply.Member})[0]
		}
		return err
	})
	return added, err
}

// Promote gives a learner its vote, when it has caught up. A member that has one keeps it.
func (c *Cluster) Promote(ctx context.Context, id ID) error {
	return c.change(ctx, "promote etcd member "+id.String(), promoteDeadline, func(ctx context.Context) error {
		_, err := c.client.MemberPromote(ctx, uint64(id))
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil
		}
		return err
	})
}

// Remove takes a member away, whose server then says ErrRemoved. It is refused where the members that are left
// would have no majority of running ones. A member that is not there is removed.
func (c *Cluster) Remove(ctx context.Context, id ID) error {
	return c.change(ctx, "remove etcd member "+id.String(), settleDeadline, func(ctx context.Context) error {
		_, err := c.client.MemberRemove(ctx, uint64(id))
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	})
}

// Advertise tells the cluster where the others reach this member, if it does not know. The URL is Peer.URL of this
// and later starts: call it after each start, and before the first AddLearner.
func (s *Server) Advertise(ctx context.Context, peerURL string) error {
	all, err := s.Members(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(m Member) bool { return m.ID == s.Self() && m.URL == peerURL }) {
		return nil
	}
	return s.change(ctx, "advertise "+peerURL, 0, func(ctx context.Context) error {
		_, err := s.client.MemberUpdate(ctx, uint64(s.Self()), []string{peerURL})
		return err
	})
}

// change makes one change of the membership, again until patience is over where the cluster is not ready for it.
// Without a leader it is refused with ErrNoQuorum. A change that was cut short may have been made all the same:
// each of them can be asked for again.
func (c *Cluster) change(ctx context.Context, what string, patience time.Duration, try func(context.Context) error) error {
	began := time.Now()
	for {
		err := c.tryChange(ctx, try)
		if err == nil {
			return nil
		}
		if !unready(err) || time.Since(began) > patience {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-time.After(retryInterval):
		case <-c.failed():
			return fmt.Errorf("%s: %w", what, c.server.died.err)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}

func (c *Cluster) tryChange(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, memberDeadline)
	defer cancel()
	if c.server != nil {
		err := c.server.electorate.await(ctx)
		if errors.Is(err, rpctypes.ErrGRPCNoLeader) {
			return ErrNoQuorum
		}
		if err != nil {
			return err
		}
	}
	return try(ctx)
}

// unready tells what etcd refuses for now: a learner that has not caught up, a cluster that is settling.
func unready(err error) bool {
	return errors.Is(err, rpctypes.ErrMemberLearnerNotReady) || errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) ||
		errors.Is(err, rpctypes.ErrUnhealthy)
}

func members(from []*pb.Member) []Member {
	all := make([]Member, len(from))
	for i, m := range from {
		all[i] = Member{ID: ID(m.ID), Name: m.Name, Learner: m.IsLearner}
		if len(m.PeerURLs) > 0 {
			all[i].URL = m.PeerURLs[0]
		}
	}
	return all
}
