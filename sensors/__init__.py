"""What wakes the platform: sensors and schedules, by the names of jobs and assets; they import no asset module."""
