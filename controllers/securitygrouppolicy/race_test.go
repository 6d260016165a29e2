//go:build race

package securitygrouppolicy

func init() { raceDetector = true }
