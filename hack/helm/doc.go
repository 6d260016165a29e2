// Package helm tests charts/sgp-operator with Helm itself: what it renders, and what
// becomes of a cluster when it is installed, upgraded and uninstalled.
package helm
