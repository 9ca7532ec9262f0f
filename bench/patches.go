package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"poolpatch/internal/hotfix"
	"poolpatch/internal/storage/image"
	"poolpatch/xenapi"
	"poolpatch/xenapi/client"
)

type (
	patchRef = xenapi.Ref[xenapi.PoolPatch]
	vdiRef   = xenapi.Ref[xenapi.VDI]
)

// Names of arms that stand in several rows.
const (
	gpgFile   = "gpg --decrypt, sync"
	gpgZipped = "gpg --decrypt of it, sync"
	gpgNull   = "gpg --decrypt, to /dev/null"
	gpgUnsync = "gpg --decrypt"
	sparse    = "cp --sparse=always, sync"
	qemu      = "qemu-img convert -W -m 8, sync"
)

// warmup brings the daemon to its working temperature with a small patch, and says how much memory that took.
func (l *lab) warmup(ctx context.Context) ([]row, error) {
	return l.memoryWith(ctx, warmupSize)
}

// memory says what the measurements so far took, and what a huge patch does.
func (l *lab) memory(ctx context.Context) ([]row, error) {
	peak, err := l.daemon.peak()
	if err != nil {
		return nil, err
	}
	rows := []row{memoryRow(l.size, peak)}
	if l.huge == 0 {
		return rows, nil
	}
	more, err := l.memoryWith(ctx, l.huge)
	return append(rows, more...), err
}

func memoryRow(n int64, peak float64) row {
	return row{What: fmt.Sprintf("daemon's peak memory, patch of %s", size(n)), Unit: "MiB", Ours: peak, Aim: memoryAim}
}

// memoryWith measures the daemon's memory with the life of a patch of n bytes.
func (l *lab) memoryWith(ctx context.Context, n int64) ([]row, error) {
	p, err := l.key.newPatch(ctx, l.work, n, "--compress-algo", "none")
	if err != nil {
		return nil, err
	}
	defer os.Remove(p.file)
	if _, err := l.daemon.peak(); err != nil { // forgets what came before
		return nil, err
	}
	ref, _, err := l.upload(ctx, l.plain, p)
	if err != nil {
		return nil, err
	}
	if _, err := l.apply(ctx, ref); err != nil {
		return nil, err
	}
	peak, err := l.daemon.peak()
	return []row{memoryRow(n, peak)}, errors.Join(err, l.destroyPatch(ctx, ref))
}

// uploads measures until a patch is verified and durable in the pool, beside what verifies and stores it
// without a pool.
func (l *lab) uploads(ctx context.Context) ([]row, error) {
	const http, https, zipped, plain = "upload over HTTP", "upload over HTTPS", "upload, compressed by gpg", "plain write, fsync"
	for _, p := range []signedPatch{l.patch, l.zipped} {
		if err := recall(p.file); err != nil {
			return nil, err
		}
	}
	t, err := l.turns(ctx,
		l.uploading(http, l.plain, l.patch),
		writes(gpgFile, l.out(), true, l.key.decrypt(l.patch.file, l.out())...),
		l.uploading(https, l.secure, l.patch),
		writes(plain, l.out(), false, "dd", "if="+l.patch.file, "of="+l.out(), "bs=1M", "conv=fsync", "status=none"),
		l.uploading(zipped, l.plain, l.zipped),
		writes(gpgZipped, l.out(), true, l.key.decrypt(l.zipped.file, l.out())...),
	)
	if err != nil {
		return nil, err
	}
	return []row{
		t.against(http, gpgFile, 0.8), t.against(zipped, gpgZipped, 0.8), t.against(https, gpgFile, 0),
		t.against(http, plain, 0), t.against(https, plain, 0),
	}, nil
}

func (l *lab) uploading(name string, c *client.Client, p signedPatch) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		ref, took, err := l.upload(ctx, c, p)
		if err != nil {
			return 0, err
		}
		return took, l.destroyPatch(ctx, ref)
	}}
}

func (l *lab) upload(ctx context.Context, c *client.Client, p signedPatch) (ref patchRef, took time.Duration, err error) {
	f, err := os.Open(p.file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	took, err = timed(func() error {
		ref, err = c.UploadPatch(ctx, f, p.size, nil)
		return err
	})
	return ref, took, err
}

// apply applies a patch and forgets that again, so that it can be applied once more.
func (l *lab) apply(ctx context.Context, ref patchRef) (time.Duration, error) {
	took, err := timed(func() error { return l.plain.Do(ctx, "pool_patch.apply", ref, l.host) })
	if err != nil {
		return 0, err
	}
	rec, err := client.Call[xenapi.PoolPatch](ctx, l.plain, "pool_patch.get_record", ref)
	if err != nil {
		return 0, err
	}
	// Without its stamp nothing brings the row back.
	if err := os.Remove(filepath.Join(l.daemon.root, "var/patch/applied", rec.UUID)); err != nil {
		return 0, err
	}
	for _, row := range rec.HostPatches {
		if err := l.plain.Do(ctx, "host_patch.destroy", row); err != nil {
			return 0, err
		}
	}
	return took, nil
}

func (l *lab) destroyPatch(ctx context.Context, ref patchRef) error {
	return l.plain.Do(ctx, "pool_patch.destroy", ref)
}

// verification measures the one pass over a patch, without a pool and without a disk.
func (l *lab) verification(ctx context.Context) ([]row, error) {
	const ours, zipped, openssl, gpgNullZipped = "hotfix.Verify", "hotfix.Verify, compressed by gpg", "openssl dgst -sha512", "gpg --decrypt of it, to /dev/null"
	verifier := hotfix.NewVerifier(hotfix.Options{
		KeyDir: filepath.Join(l.daemon.root, "etc/poolpatch/trusted-keys.d"), Log: slog.New(slog.DiscardHandler),
	})
	t, err := l.turns(ctx,
		verifying(ours, verifier, l.patch),
		prints(gpgNull, l.key.decrypt(l.patch.file, "/dev/null")...),
		prints(openssl, "openssl", "dgst", "-sha512", l.patch.file),
		verifying(zipped, verifier, l.zipped),
		prints(gpgNullZipped, l.key.decrypt(l.zipped.file, "/dev/null")...),
	)
	if err != nil {
		return nil, err
	}
	return []row{t.against(ours, gpgNull, 0), t.against(ours, openssl, 0), t.against(zipped, gpgNullZipped, 0)}, nil
}

func verifying(name string, v *hotfix.Verifier, p signedPatch) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		f, err := os.Open(p.file)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		return timed(func() error {
			_, err := v.Verify(ctx, f, io.Discard)
			return err
		})
	}}
}

// contents measures what is done with a patch that is in the pool: hosts apply it, and its VDI is copied.
func (l *lab) contents(ctx context.Context) ([]row, error) {
	const copying, cloning = "apply on an SR that copies", "apply on an SR that clones"
	twin, err := l.key.newPatch(ctx, l.work, l.size, "--compress-algo", "none")
	if err != nil {
		return nil, err
	}
	defer os.Remove(twin.file)
	onLocal, _, err := l.upload(ctx, l.plain, l.patch)
	if err != nil {
		return nil, err
	}
	onCloner, err := l.uploadTo(ctx, l.cloner, twin)
	if err != nil {
		return nil, err
	}
	t, err := l.turns(ctx,
		l.applying(copying, onLocal),
		writes(gpgUnsync, l.out(), false, l.key.decrypt(l.patch.file, l.out())...),
		l.applying(cloning, onCloner),
	)
	if err != nil {
		return nil, err
	}
	rows := []row{t.against(cloning, gpgUnsync, 0.5), t.against(copying, gpgUnsync, 0.5)}
	copies, err := l.copies(ctx, onLocal)
	if err != nil {
		return nil, err
	}
	return append(rows, copies...), errors.Join(l.destroyPatch(ctx, onLocal), l.destroyPatch(ctx, onCloner))
}

func (l *lab) applying(name string, ref patchRef) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) { return l.apply(ctx, ref) }}
}

// uploadTo uploads a patch to an SR of choice.
func (l *lab) uploadTo(ctx context.Context, sr xenapi.Ref[xenapi.SR], p signedPatch) (patchRef, error) {
	if err := l.setDefaultSR(ctx, sr); err != nil {
		return "", err
	}
	ref, _, err := l.upload(ctx, l.plain, p)
	return ref, errors.Join(err, l.setDefaultSR(ctx, l.local))
}

func (l *lab) defaultSR(ctx context.Context) (xenapi.Ref[xenapi.SR], error) {
	pools, err := client.Call[map[xenapi.Ref[xenapi.Pool]]xenapi.Pool](ctx, l.plain, "pool.get_all_records")
	for _, pool := range pools {
		return pool.DefaultSR, err
	}
	return "", err
}

func (l *lab) setDefaultSR(ctx context.Context, sr xenapi.Ref[xenapi.SR]) error {
	pools, err := client.Call[[]xenapi.Ref[xenapi.Pool]](ctx, l.plain, "pool.get_all")
	if err != nil {
		return err
	}
	return l.plain.Do(ctx, "pool.set_default_SR", pools[0], sr)
}

// copies measures copies of a patch's VDI on the SR that cannot clone; all start with nothing of it cached.
func (l *lab) copies(ctx context.Context, patch patchRef) ([]row, error) {
	const ours, engine = "VDI.copy", "image.Copy"
	vdi, err := client.Call[vdiRef](ctx, l.plain, "pool_patch.get_VDI", patch)
	if err != nil {
		return nil, err
	}
	file, virtualSize, err := l.imageOf(ctx, vdi)
	if err != nil {
		return nil, err
	}
	t, err := l.turns(ctx,
		uncached(file, l.duplicating(ours, "VDI.copy", vdi, l.local)),
		uncached(file, writes(sparse, l.out(), true, "cp", "--sparse=always", file, l.out())),
		uncached(file, l.copying(engine, file, virtualSize)),
		uncached(file, writes(qemu, l.out(), true, "qemu-img", "convert", "-W", "-m", "8", "-f", "raw", "-O", "raw", file, l.out())),
	)
	if err != nil {
		return nil, err
	}
	return []row{
		t.against(ours, sparse, 1), t.against(engine, sparse, 1),
		t.against(ours, qemu, 0), t.against(engine, qemu, 0),
	}, nil
}

// duplicating makes a VDI of a VDI by a message, and destroys it.
func (l *lab) duplicating(name, message string, args ...any) arm {
	return arm{name, func(ctx context.Context) (took time.Duration, err error) {
		var made vdiRef
		took, err = timed(func() error {
			made, err = client.Call[vdiRef](ctx, l.plain, message, args...)
			return err
		})
		if err != nil {
			return 0, err
		}
		return took, l.plain.Do(ctx, "VDI.destroy", made)
	}}
}

func (l *lab) copying(name, file string, virtualSize int64) arm {
	return arm{name, func(ctx context.Context) (time.Duration, error) {
		src, err := os.Open(file)
		if err != nil {
			return 0, err
		}
		defer src.Close()
		took, err := timed(func() error {
			dst, err := os.Create(l.out())
			if err != nil {
				return err
			}
			defer dst.Close()
			_, err = image.Copy(ctx, dst, src, image.Options{Size: virtualSize})
			return err
		})
		return took, errors.Join(err, removeFile(l.out()))
	}}
}

// clones measures clones of an image that holds a patch.
func (l *lab) clones(ctx context.Context) ([]row, error) {
	const ours, peer = "VDI.clone", "cp --reflink=always, sync"
	patch, err := l.uploadTo(ctx, l.cloner, l.patch)
	if err != nil {
		return nil, err
	}
	vdi, err := client.Call[vdiRef](ctx, l.plain, "pool_patch.get_VDI", patch)
	if err != nil {
		return nil, err
	}
	file, _, err := l.imageOf(ctx, vdi)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(l.xfs, "out")
	t, err := l.turns(ctx,
		l.duplicating(ours, "VDI.clone", vdi),
		writes(peer, out, true, "cp", "--reflink=always", file, out),
	)
	if err != nil {
		return nil, err
	}
	return []row{t.against(ours, peer, 0).inMilliseconds()}, l.destroyPatch(ctx, patch)
}
