//go:build !unix && !windows

package probe

import "runtime"

func readSystem() System { return System{Sysname: runtime.GOOS} }
