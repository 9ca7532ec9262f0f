package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// callRuns is how often a call of a few milliseconds is measured; what is printed are medians.
	callRuns = 100
	// filling is how many VDIs are made at once.
	filling = 8
	// smallWrite is about a record's size in the database, in bytes.
	smallWrite = 4 << 10
)

// calls measures messages that move no images, in a pool with many VDIs.
func (l *lab) calls(ctx context.Context) ([]row, error) {
	const read, least, write, disk = "get_all_records", "get", "write", "write and fsync of 4K"
	if err := l.fill(ctx); err != nil {
		return nil, err
	}
	t := times{}
	for name, fn := range map[string]func(n int) error{
		read:  func(int) error { return l.readAll(ctx) },
		least: func(int) error { return l.plain.Do(ctx, "pool.get_all") },
		write: func(n int) error { return l.plain.Do(ctx, "SR.set_tags", l.local, []string{fmt.Sprint(n)}) },
		disk:  func(int) error { return writeSmall(l.out()) },
	} {
		if err := t.often(ctx, name, fn); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	written := t.against(write, disk, 0).inMilliseconds()
	written.What = "SR.set_tags"
	return []row{
		{What: fmt.Sprintf("VDI.get_all_records of %d", l.images), Unit: "ms", Ours: milliseconds(t.median(read))},
		{What: "pool.get_all", Unit: "ms", Ours: milliseconds(t.median(least))},
		written,
	}, removeFile(l.out())
}

// often measures fn callRuns times, under a name.
func (t times) often(ctx context.Context, name string, fn func(n int) error) error {
	for n := range callRuns {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		took, err := timed(func() error { return fn(n) })
		if err != nil {
			return err
		}
		t[name] = append(t[name], took)
	}
	return nil
}

// readAll reads all VDIs, and makes no records of what comes: that is the client's work.
func (l *lab) readAll(ctx context.Context) error {
	text, err := l.plain.Raw(ctx, "VDI.get_all_records")
	if err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if len(all) < l.images {
		return fmt.Errorf("the pool says that it has %d VDIs, not %d", len(all), l.images)
	}
	return nil
}

// fill makes small VDIs.
func (l *lab) fill(ctx context.Context) error {
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(filling)
	for n := range l.images {
		group.Go(func() error {
			return l.plain.Do(ctx, "VDI.create", map[string]any{
				"name_label": fmt.Sprintf("VDI %d", n), "name_description": "One of many", "SR": l.local, "virtual_size": int64(1 << 20),
				"type": "user", "sharable": false, "read_only": false, "other_config": map[string]string{"n": fmt.Sprint(n)},
			})
		})
	}
	err := group.Wait()
	fmt.Fprintf(l.log, "  %d VDIs made in %.1f s\n", l.images, time.Since(start).Seconds())
	return err
}

// writeSmall is the least that makes anything durable on this disk.
func writeSmall(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Repeat([]byte{1}, smallWrite))
	return errors.Join(err, f.Sync(), f.Close())
}
