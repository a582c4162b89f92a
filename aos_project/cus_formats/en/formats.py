"""Times to the second and with their zone, so that they can be compared with logs."""

DATETIME_FORMAT = "Y-m-d H:i:s T"
DATE_FORMAT = "Y-m-d"
