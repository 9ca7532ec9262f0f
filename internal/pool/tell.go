package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"poolpatch/internal/authority"
	"poolpatch/internal/db"
	"poolpatch/internal/message"
	"poolpatch/xenapi"
)

// TellLost makes messages, on the coordinator, of hosts that are lost and of those that are back, until ctx ends. A host that
// is only starting again is neither.
func TellLost(ctx context.Context, d *db.DB, me xenapi.Ref[xenapi.Host], log *slog.Logger) error {
	var seen []xenapi.Ref[xenapi.Host]
	due := func(tx *db.Tx) bool { seen = untold(tx); return len(seen) > 0 }
	for {
		err := attend(ctx, d, me, log, "make a message of a host that is lost or back", grace, due, func(tx *db.Tx) error {
			for _, host := range seen {
				if err := tell(tx, host); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// untold lists the hosts whose last message says something else than whether they live.
func untold(tx *db.Tx) (hosts []xenapi.Ref[xenapi.Host]) {
	for ref, rec := range db.All[xenapi.Host](tx) {
		if message.Raised(tx, message.HostLost, rec.UUID) == Alive(tx, ref) {
			hosts = append(hosts, ref)
		}
	}
	return hosts
}

// tell makes the message of a host, if it still needs one.
func tell(tx *db.Tx, ref xenapi.Ref[xenapi.Host]) error {
	host, known := db.Lookup(tx, ref)
	alive := Alive(tx, ref)
	switch {
	case !known || message.Raised(tx, message.HostLost, host.UUID) != alive:
		return nil
	case !alive:
		return message.Raise(tx, xenapi.Message{
			Name: message.HostLost, Priority: message.Critical, Cls: xenapi.MessageClassHost, ObjUUID: host.UUID,
			Body: fmt.Sprintf("Host %s (%s, %s) gives no sign of life.", host.UUID, host.NameLabel, host.Address),
		})
	}
	if err := message.Clear(tx, message.HostLost, host.UUID); err != nil {
		return err
	}
	_, err := message.Post(tx, xenapi.Message{
		Name: message.HostBack, Priority: message.Notice, Cls: xenapi.MessageClassHost, ObjUUID: host.UUID,
		Body: fmt.Sprintf("Host %s (%s, %s) is back.", host.UUID, host.NameLabel, host.Address),
	})
	return err
}

// TellUnlikeAuth makes messages of hosts that let users of another directory in than the coordinator does, or of none.
func TellUnlikeAuth(tx *db.Tx) error {
	coordinator, _ := db.Lookup(tx, Coordinator(tx))
	for _, host := range db.All[xenapi.Host](tx) {
		var err error
		if sameAuth(host, coordinator) {
			err = message.Clear(tx, message.UnlikeAuth, host.UUID)
		} else {
			err = message.Raise(tx, xenapi.Message{
				Name: message.UnlikeAuth, Priority: message.Major, Cls: xenapi.MessageClassHost, ObjUUID: host.UUID,
				Body: fmt.Sprintf("The external authentication of host %s (%s) is %s, and that of the coordinator %s (%s) is %s.",
					host.UUID, host.NameLabel, authOf(host), coordinator.UUID, coordinator.NameLabel, authOf(coordinator)),
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sameAuth(a, b xenapi.Host) bool {
	return a.ExternalAuthType == b.ExternalAuthType && a.ExternalAuthServiceName == b.ExternalAuthServiceName &&
		maps.Equal(a.ExternalAuthConfiguration, b.ExternalAuthConfiguration)
}

func authOf(host xenapi.Host) string {
	if host.ExternalAuthType == "" {
		return "none"
	}
	return fmt.Sprintf("%s %s %v", host.ExternalAuthType, host.ExternalAuthServiceName, host.ExternalAuthConfiguration)
}

// takeAuth has a host that is new let in whom the pool lets in: what the coordinator knows of its directory.
func takeAuth(tx *db.Tx, rec *xenapi.Host) {
	coordinator, ok := db.Lookup(tx, Coordinator(tx))
	if !ok {
		return
	}
	rec.ExternalAuthType, rec.ExternalAuthServiceName = coordinator.ExternalAuthType, coordinator.ExternalAuthServiceName
	rec.ExternalAuthConfiguration, rec.ExternalAuthPassword = coordinator.ExternalAuthConfiguration, coordinator.ExternalAuthPassword
}

// TellExpiring makes messages of the pool's authority, and of the CA certificates that it trusts, when their end is near. The
// coordinator asks.
func TellExpiring(tx *db.Tx, now time.Time) error {
	return errors.Join(tellOwnExpiring(tx, now), tellTrustedExpiring(tx, now))
}

func tellTrustedExpiring(tx *db.Tx, now time.Time) error {
	for _, rec := range db.All[xenapi.Certificate](tx) {
		if rec.Type != xenapi.CertificateTypeCA {
			continue
		}
		if err := message.Expiring(tx, xenapi.Message{
			Name: "POOL_CA_CERTIFICATE", Cls: xenapi.MessageClassCertificate, ObjUUID: rec.UUID,
			Body: "The CA certificate " + rec.Name + ", which the pool trusts,",
		}, rec.NotAfter, now); err != nil {
			return err
		}
	}
	return nil
}

func tellOwnExpiring(tx *db.Tx, now time.Time) error {
	_, pool, ok := thePool(tx)
	rec, held := db.Lookup(tx, theTrust)
	if !ok || !held {
		return nil
	}
	a, err := authority.Parse([]byte(rec.Authority))
	if err != nil {
		return err
	}
	return message.Expiring(tx, xenapi.Message{
		Name: "POOL_CA_CERTIFICATE", Cls: xenapi.MessageClassPool, ObjUUID: pool.UUID,
		Body: "The certificate of the pool's authority, which hosts know one another by,",
	}, a.NotAfter(), now)
}

// TellHostExpiring makes messages of the certificate that this host shows its clients.
func TellHostExpiring(tx *db.Tx, me xenapi.Ref[xenapi.Host], end, now time.Time) error {
	host, ok := db.Lookup(tx, me)
	if !ok {
		return nil
	}
	return message.Expiring(tx, xenapi.Message{
		Name: "HOST_SERVER_CERTIFICATE", Cls: xenapi.MessageClassHost, ObjUUID: host.UUID,
		Body: "The TLS server certificate of host " + host.NameLabel,
	}, end, now)
}
