package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/db/etcdkv"
	"poolpatch/internal/etcdserver"
	"poolpatch/internal/httpd"
	"poolpatch/internal/pool"
)

const (
	// connectPause lies between two attempts to reach the database's members.
	connectPause = 2 * time.Second
	// votePause is the same for a member without a vote.
	votePause = 200 * time.Millisecond
	// tendInterval lies between two looks at who has a copy of the database.
	tendInterval = time.Second
	// followInterval is the same for a host that has none.
	followInterval = 30 * time.Second
	// doubtInterval lies between two looks at whether the database answers, while the daemon runs.
	doubtInterval = 10 * time.Second
	// restartStagger lies between the restarts of two members, which take a few seconds.
	restartStagger = 6 * time.Second
	// maxKeepers is how many hosts have a copy of the database: of three, any one may be lost.
	maxKeepers = 3
)

// database is where the pool's records are kept, as this host reaches them.
type database struct {
	store db.Store
	// server is this host's own member; nil where it has none.
	server *etcdserver.Server
	// cluster is the pool's own; nil for an etcd of the administrator's.
	cluster *etcdserver.Cluster
	// follow makes a client use the members that there are now; nil where this host is none.
	follow func(context.Context) error
	// others are the URLs of the members on other hosts; nil for an etcd of the administrator's.
	others func() []string
	// trusted are the authorities that the member took its peers' certificates from, when it started: it reads them once.
	trusted []byte
	close   func()
}

// databaseConfig says what opening the database takes.
type databaseConfig struct {
	serve serveConfig
	paths paths
	place pool.Place
	// url is where other hosts reach this one, "" where they cannot.
	url  string
	keys *authority.Keyholder
	door *httpd.Door
	log  *slog.Logger
}

func (c databaseConfig) open(ctx context.Context) (*database, error) {
	switch {
	case len(c.serve.EtcdEndpoints) > 0:
		return c.external(ctx)
	case c.place.Role == pool.Client:
		return c.asClient(ctx)
	}
	return c.asMember(ctx)
}

// external reaches an etcd of the administrator's own.
func (c databaseConfig) external(ctx context.Context) (*database, error) {
	c.log.Info("waiting for the database", "endpoints", c.serve.EtcdEndpoints)
	client, err := etcdserver.Connect(ctx, c.serve.EtcdEndpoints, etcdserver.TLSConfig{CAFile: c.serve.EtcdCA, CertFile: c.serve.EtcdCert, KeyFile: c.serve.EtcdKey})
	if err != nil {
		return nil, err
	}
	return &database{store: etcdkv.New(client), close: func() { client.Close() }}, nil
}

// asClient reaches the members on other hosts. They may all be starting at this moment, so it does not give up. Errors:
// pool.ErrEjected.
func (c databaseConfig) asClient(ctx context.Context) (*database, error) {
	var endpoints []string
	for _, k := range c.place.Keepers {
		endpoints = append(endpoints, k.URL)
	}
	ctx, inside := c.unlessEjected(ctx, func() []string { return endpoints })
	defer inside()
	for {
		client, err := etcdserver.Connect(ctx, endpoints, etcdserver.TLSConfig{Config: c.keys.ClientConfig()})
		if err == nil {
			d := &database{store: etcdkv.New(client), cluster: etcdserver.NewCluster(client), close: func() { client.Close() }}
			d.follow = func(ctx context.Context) error { return etcdserver.Sync(ctx, client) }
			d.others = client.Endpoints
			return d, nil
		}
		c.log.Warn("the pool's database is not reached; trying again", "error", err)
		select {
		case <-time.After(connectPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// unlessEjected is a context that ends with pool.ErrEjected when the pool says that it knows this host no more; the
// function that it gives says that the database is reached.
func (c databaseConfig) unlessEjected(ctx context.Context, others func() []string) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		if pool.AwaitEjection(ctx, c.keys, others) == nil {
			end(pool.ErrEjected)
		}
	})
	return ctx, func() { end(nil); asking.Wait() }
}

// asMember runs this host's own member. It may need the others to begin, as they may need it: so they are let in before
// it is ready. Errors: etcdserver.ErrRemoved, pool.ErrEjected.
func (c databaseConfig) asMember(ctx context.Context) (*database, error) {
	config := etcdserver.Config{Dir: c.paths.etcd, Name: "poolpatch", Alone: c.place.Alone, Logger: c.log}
	if c.url != "" {
		identity, authorities := pool.CredentialFiles(c.paths.identity)
		config.Peer = &etcdserver.Peer{URL: c.url, CertFile: identity, KeyFile: identity, CAFile: authorities, ServerName: authority.ServerName}
	}
	trusted, err := os.ReadFile(authoritiesOf(c.paths))
	if err != nil {
		return nil, err
	}
	for _, k := range c.place.Keepers {
		var id etcdserver.ID
		if err := id.UnmarshalText([]byte(k.ID)); err != nil {
			return nil, err
		}
		config.Join = append(config.Join, etcdserver.Member{ID: id, URL: k.URL})
	}
	server, err := etcdserver.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	d := &database{server: server, cluster: server.Cluster, others: server.Others, trusted: trusted, close: func() {
		if err := server.Close(); err != nil {
			c.log.Warn("stop the database", "error", err)
		}
	}}
	if err := c.ready(ctx, server); err != nil {
		d.close()
		return nil, err
	}
	d.store = etcdkv.New(server.Client())
	return d, nil
}

func (c databaseConfig) ready(ctx context.Context, server *etcdserver.Server) error {
	if c.url == "" {
		return nil
	}
	c.door.Database(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if etcdserver.IsPeerPath(r.URL.Path) {
			server.PeerHandler().ServeHTTP(w, r)
			return
		}
		server.ClientHandler().ServeHTTP(w, r)
	}))
	if err := c.awaitMajority(ctx, server); err != nil {
		return err
	}
	if c.place.Alone {
		// A crash between the two does both again.
		if err := db.Rename(ctx, etcdkv.New(server.Client())); err != nil {
			return err
		}
		if err := (pool.Place{}).Write(c.paths.place); err != nil {
			return err
		}
	}
	if err := server.Advertise(ctx, c.url); err != nil {
		c.log.Warn("the other hosts do not know this host's address yet", "url", c.url, "error", err)
	}
	return nil
}

// awaitMajority waits until this member has a vote among a majority that runs.
func (c databaseConfig) awaitMajority(ctx context.Context, server *etcdserver.Server) error {
	ctx, inside := c.unlessEjected(ctx, server.Others)
	defer inside()
	if err := server.Ready(ctx); err != nil {
		return err
	}
	return c.awaitVote(ctx, server)
}

// awaitVote waits until this member has its vote, which the coordinator gives it when it has caught up: before that, the
// pool is no safer for it.
func (c databaseConfig) awaitVote(ctx context.Context, server *etcdserver.Server) error {
	for waited := false; ; waited = true {
		all, err := server.Members(ctx)
		if err == nil && !slices.ContainsFunc(all, func(m etcdserver.Member) bool { return m.ID == server.Self() && m.Learner }) {
			return nil
		}
		if !waited {
			c.log.Info("waiting until this host's copy of the database has caught up", "error", err)
		}
		select {
		case <-time.After(votePause):
		case <-server.Failed():
			return server.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// role says for people how this host has the database.
func (d *database) role() string {
	switch {
	case d.cluster == nil:
		return "external"
	case d.server == nil:
		return "client"
	}
	return "member"
}

// isDatabasePath tells what the door lets hosts alone through to.
func isDatabasePath(path string) bool {
	return etcdserver.IsPeerPath(path) || etcdserver.IsClientPath(path)
}

// AddKeeper implements pool.Keepers.
func (d *database) AddKeeper(ctx context.Context, url string) (pool.Place, error) {
	if d.cluster == nil {
		return pool.Place{}, nil
	}
	all, err := d.cluster.Members(ctx)
	if err != nil {
		return pool.Place{}, err
	}
	known := slices.ContainsFunc(all, func(m etcdserver.Member) bool { return m.URL == url })
	if !known && len(all) >= maxKeepers {
		return pool.Place{Role: pool.Client, Keepers: keepers(all)}, nil
	}
	if _, err := d.cluster.AddLearner(ctx, url); err != nil {
		return pool.Place{}, err
	}
	if all, err = d.cluster.Members(ctx); err != nil {
		return pool.Place{}, err
	}
	return pool.Place{Role: pool.Member, Keepers: keepers(all)}, nil
}

// RemoveKeeper implements pool.Keepers.
func (d *database) RemoveKeeper(ctx context.Context, url string) error {
	if d.cluster == nil {
		return nil
	}
	all, err := d.cluster.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.URL == url {
			return d.cluster.Remove(ctx, m.ID)
		}
	}
	return nil
}

func keepers(members []etcdserver.Member) []pool.Keeper {
	var all []pool.Keeper
	for _, m := range members {
		all = append(all, pool.Keeper{ID: m.ID.String(), URL: m.URL})
	}
	return all
}

// tend gives members that have caught up their vote, for as long as this host is the coordinator, until ctx ends.
func (d *database) tend(ctx context.Context, coordinating func() bool, log *slog.Logger) {
	if d.cluster == nil {
		return
	}
	every(ctx, tendInterval, func() {
		if !coordinating() {
			return
		}
		all, err := d.cluster.Members(ctx)
		for _, m := range all {
			if err == nil && m.Learner && m.Name != "" {
				if err = d.cluster.Promote(ctx, m.ID); err == nil {
					log.Info("a host has a copy of the database now, and a vote", "url", m.URL)
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("members of the database", "error", err)
		}
	})
}

// keepPlace keeps the file of a host that has no copy of the database true to where the copies are, until ctx ends.
func (d *database) keepPlace(ctx context.Context, file string, place pool.Place, log *slog.Logger) {
	if d.follow == nil {
		return
	}
	every(ctx, followInterval, func() {
		all, err := d.cluster.Members(ctx)
		if err == nil && !slices.Equal(keepers(all), place.Keepers) {
			place.Keepers = keepers(all)
			err = errors.Join(d.follow(ctx), place.Write(file))
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("where the database is", "error", err)
		}
	})
}

func authoritiesOf(p paths) string {
	_, authorities := pool.CredentialFiles(p.identity)
	return authorities
}

// awaitTrust returns when the hosts' authorities are others than this host's member knows, and it is this host's turn to
// start again for that: one after another, so that the pool keeps its majority.
func (d *database) awaitTrust(ctx context.Context, file string, turn func() int) error {
	for {
		now, err := os.ReadFile(file)
		if err == nil && d.server != nil && !bytes.Equal(now, d.trusted) {
			return sleep(ctx, time.Duration(turn())*restartStagger)
		}
		if err := sleep(ctx, tendInterval); err != nil {
			return err
		}
	}
}

// awaitEjection returns when the pool says that it knows this host no more: a host that was cut off when it was taken out
// learns it in no other way. Nobody is asked while the database answers.
func (d *database) awaitEjection(ctx context.Context, keys *authority.Keyholder) error {
	for {
		if err := sleep(ctx, doubtInterval); err != nil {
			return err
		}
		if d.cluster == nil {
			continue
		}
		if _, err := d.cluster.Members(ctx); err != nil && pool.Ejected(ctx, keys, d.others()) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// hostURL is where other hosts reach an address.
func hostURL(address string) string {
	if address == "" {
		return ""
	}
	return fmt.Sprintf("https://%s", pool.WithPort(address))
}
